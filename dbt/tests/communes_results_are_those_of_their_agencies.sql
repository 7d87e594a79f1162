-- Nothing is lost or counted twice between the results by agency and those by commune.
with agency as (

    select
        year_month,
        sum(received) as received,
        sum(resolved_on_time) as on_time,
        sum(resolved_overdue) as overdue
    from {{ ref('dossier_results_by_agency_monthly') }}
    where agency_level = 'COMMUNE'
    group by year_month

),

commune as (

    select
        year_month,
        sum(received) as received,
        sum(resolved_on_time) as on_time,
        sum(resolved_overdue) as overdue
    from {{ ref('timeliness_by_commune_monthly') }}
    group by year_month

)

select
    agency.*,
    commune.year_month as commune_month
from agency
full join commune on agency.year_month = commune.year_month
where
    (agency.received, agency.on_time, agency.overdue)
    is distinct from (commune.received, commune.on_time, commune.overdue)
