-- What the catalogue said before the first snapshot is not known, and no row pretends to.

with snapshot as (

    select * from {{ ref('procedure_snapshot') }}

),

numbered as (

    select
        *,
        {{ local_date('dbt_valid_from') }} as valid_from,
        {{ local_date('dbt_valid_to') }} as valid_to,
        {{ local_date('min(dbt_valid_from) over (partition by source_code)') }} as known_from,
        (row_number() over (
            partition by procedure_code
            order by dbt_valid_from, dbt_valid_to nulls last
        ))::integer as version_no
    from snapshot

)

select
    procedure_code || '@' || version_no as version_key,
    procedure_code,
    version_no,
    valid_from,
    valid_to,
    known_from,
    -- A first version of the first day was there before, nobody knows since when.
    valid_from > known_from or version_no > 1 as is_valid_from_exact,
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
    result_names,
    decision_number,
    generator_assigned,
    source_code,
    origin
from numbered
