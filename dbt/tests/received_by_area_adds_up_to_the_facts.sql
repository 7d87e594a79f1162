{% set first_day = first_day_not_tested() %}

-- Every dossier received stands in one month of one area: nothing doubled by a split commune, nothing dropped; and so
-- does what became of it.
with facts as (

    select
        to_char(received_date, 'YYYY-MM') as year_month,
        count(*) as received,
        count(*) filter (where is_resolved) as resolved,
        count(*) filter (where is_resolved and is_overdue) as resolved_overdue
    from {{ ref('fct_dossier') }}
    where report_group <> 'not_received' and received_date >= {{ first_day }}
    group by to_char(received_date, 'YYYY-MM')

),

series as (

    select
        year_month,
        sum(received) as received,
        sum(resolved) as resolved,
        sum(resolved_overdue) as resolved_overdue
    from {{ ref('fct_received_by_area_monthly') }}
    where year_month >= to_char({{ first_day }}, 'YYYY-MM')
    group by year_month

)

select
    facts.year_month,
    facts.received,
    series.received as received_in_areas
from facts
full join series on facts.year_month = series.year_month
where
    (facts.received, facts.resolved, facts.resolved_overdue)
    is distinct from (series.received, series.resolved, series.resolved_overdue)
