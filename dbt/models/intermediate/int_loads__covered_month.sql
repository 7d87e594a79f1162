-- A month some of whose days no load of the source covers may still change.
select
    source_code,
    to_char(covered_date, 'YYYY-MM') as year_month,
    to_char(covered_date, 'YYYY-"Q"Q') as year_quarter,
    count(*)::integer as covered_days,
    count(*) < extract(day from (
        date_trunc('month', min(covered_date)) + interval '1 month' - interval '1 day'
    )) as is_provisional
from {{ ref('int_loads__covered_day') }}
group by source_code, to_char(covered_date, 'YYYY-MM'), to_char(covered_date, 'YYYY-"Q"Q')
