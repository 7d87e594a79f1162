-- As of its first day an agency is found, once; on the day before it, and on the day it ended, it is not. One of which
-- no day is known is found on none.
with asked as (

    select
        agency_code,
        valid_from as as_of_date,
        1 as expected_count
    from {{ ref('dim_agency') }}
    where valid_from is not null
    union all
    select
        agency_code,
        valid_from - 1 as as_of_date,
        0 as expected_count
    from {{ ref('dim_agency') }}
    where valid_from is not null
    union all
    select
        agency_code,
        coalesce(valid_to, '{{ var("reorganisation_date") }}'::date) as as_of_date,
        0 as expected_count
    from {{ ref('dim_agency') }}
    where valid_to is not null or valid_from is null

)

select
    asked.agency_code,
    asked.as_of_date,
    count(agency.agency_code) as found_count
from asked
left join {{ ref('dim_agency') }} as agency on {{ agency_as_of('agency', 'asked.agency_code', 'asked.as_of_date') }}
group by asked.agency_code, asked.as_of_date, asked.expected_count
having count(agency.agency_code) <> asked.expected_count
