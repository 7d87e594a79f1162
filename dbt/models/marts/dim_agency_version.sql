-- Names and parents as the systems' lists had them. What they said before the first snapshot is not known, and no row
-- pretends to; from and to which day the body itself is there, stands in dim_agency.

with numbered as (

    select
        *,
        {{ local_date('dbt_valid_from') }} as valid_from,
        {{ local_date('dbt_valid_to') }} as valid_to,
        {{ local_date('min(dbt_valid_from) over (partition by source_code)') }} as known_from,
        (row_number() over (
            partition by agency_code
            order by dbt_valid_from, dbt_valid_to nulls last
        ))::integer as version_no
    from {{ ref('agency_snapshot') }}

)

select
    agency_code || '@' || version_no as version_key,
    agency_code,
    version_no,
    valid_from,
    valid_to,
    known_from,
    -- A first version of the first day was there before, nobody knows since when.
    valid_from > known_from or version_no > 1 as is_valid_from_exact,
    agency_name,
    agency_level,
    parent_agency_code,
    unit_code,
    source_code,
    origin
from numbered
