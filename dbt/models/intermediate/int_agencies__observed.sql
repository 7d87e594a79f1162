-- What the systems say of each agency now, and when that was read: what versions are made of. Lists that come with the
-- project have no day on which they were read.

with read_at as (

    select
        source_code,
        max(pulled_at) as observed_at
    from {{ ref('stg_operations__load') }}
    where interval_start < interval_end
    group by source_code

)

select
    agency.agency_code,
    {{ in_one_spelling('agency.agency_name') }} as agency_name,
    agency.agency_level,
    agency.parent_agency_code,
    agency.unit_code,
    agency.source_code,
    agency.origin,
    read_at.observed_at
from {{ ref('int_agencies__one_per_code') }} as agency
inner join read_at on agency.source_code = read_at.source_code
