-- Every dossier received stands in one month of one area: nothing doubled by a split commune, nothing dropped.
with facts as (

    select
        to_char(received_date, 'YYYY-MM') as year_month,
        count(*) as received
    from {{ ref('fct_dossier') }}
    where report_group <> 'not_received'
    group by to_char(received_date, 'YYYY-MM')

),

series as (

    select
        year_month,
        sum(received) as received
    from {{ ref('fct_received_by_area_monthly') }}
    group by year_month

)

select
    facts.year_month,
    facts.received,
    series.received as received_in_areas
from facts
full join series on facts.year_month = series.year_month
where facts.received is distinct from series.received
