select
    procedure_code,
    procedure_name,
    procedure_state,
    sector_name,
    issuing_agency_name,
    is_ministry_level,
    is_province_level,
    is_commune_level,
    is_offered_in_person,
    is_offered_online,
    is_offered_by_post,
    time_limit_in_person,
    time_limit_in_person_unit,
    time_limit_online,
    time_limit_online_unit,
    decision_number,
    source_updated_at,
    origin
from {{ ref('dim_procedure') }}
where is_known
