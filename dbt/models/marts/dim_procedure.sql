with known as (

    select * from {{ ref('int_procedures__one_per_code') }}

),

-- Facts keep codes that the catalogue lacks; a row of theirs keeps them in every join.
unknown as (

    select
        used.code as procedure_code,
        min(used.source_code) as source_code,
        max(used.origin) as origin
    from {{ ref('int_dossiers__used_code') }} as used
    left join known on used.code = known.procedure_code
    where used.code_kind = 'procedure' and known.procedure_code is null
    group by used.code

)

select
    procedure_code,
    procedure_name,
    procedure_state,
    procedure_type,
    sector_code,
    sector_name,
    issuing_agency_code,
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
    highest_fee_vnd,
    has_fee,
    result_names,
    decision_number,
    source_updated_at,
    source_code,
    procedure_id,
    generator_assigned,
    true as is_known,
    procedure_code as member_code,
    origin
from known
union all
select
    procedure_code,
    {{ name_of_unknown_code('procedure_code') }} as procedure_name,
    null as procedure_state,
    null as procedure_type,
    null as sector_code,
    null as sector_name,
    null as issuing_agency_code,
    null as issuing_agency_name,
    null as is_ministry_level,
    null as is_province_level,
    null as is_commune_level,
    null as is_offered_in_person,
    null as is_offered_online,
    null as is_offered_by_post,
    null as time_limit_in_person,
    null as time_limit_in_person_unit,
    null as time_limit_online,
    null as time_limit_online_unit,
    null as highest_fee_vnd,
    null as has_fee,
    null as result_names,
    null as decision_number,
    null as source_updated_at,
    source_code,
    null as procedure_id,
    null as generator_assigned,
    false as is_known,
    '{{ var("unknown_code") }}' as member_code,
    origin
from unknown
