-- For what counts dossiers of all systems: a quarter is whole when each system that loaded any of it loaded all.
with system as (

    select distinct system_code as source_code from {{ ref('int_dossiers__happened_month') }}

),

by_system as (

    select
        covered.source_code,
        covered.year_quarter,
        count(*) = 3 and not bool_or(covered.is_provisional) as is_whole
    from {{ ref('int_loads__covered_month') }} as covered
    inner join system on covered.source_code = system.source_code
    group by covered.source_code, covered.year_quarter

)

select
    year_quarter,
    not bool_and(is_whole) as is_provisional
from by_system
group by year_quarter
