-- Each table of open data holds every dossier received, and every one resolved, on a day that loads cover.
with facts as (

    select
        count(*) filter (where received_day.covered_date is not null and not fact.is_transferred_in) as received,
        count(*) filter (where completed_day.covered_date is not null and fact.is_resolved) as resolved,
        count(*) filter (where completed_day.covered_date is not null and fact.is_resolved and fact.is_overdue)
            as overdue
    from {{ ref('fct_dossier') }} as fact
    left join {{ ref('int_loads__covered_day') }} as received_day
        on fact.first_source_code = received_day.source_code and fact.received_date = received_day.covered_date
    left join {{ ref('int_loads__covered_day') }} as completed_day
        on fact.source_code = completed_day.source_code and fact.completed_date = completed_day.covered_date
    where fact.report_group <> 'not_received'

),

published as (

    select
        'dossier_results_monthly' as published_in,
        sum(received) as received,
        sum(resolved_on_time + resolved_overdue) as resolved,
        sum(resolved_overdue) as overdue
    from {{ ref('dossier_results_monthly') }}
    union all
    select
        'dossier_results_by_agency_monthly' as published_in,
        sum(received) as received,
        sum(resolved_on_time + resolved_overdue) as resolved,
        sum(resolved_overdue) as overdue
    from {{ ref('dossier_results_by_agency_monthly') }}
    union all
    select
        'timeliness_by_commune_quarterly' as published_in,
        null as received,
        sum(resolved_on_time + resolved_overdue) as resolved,
        sum(resolved_overdue) as overdue
    from {{ ref('timeliness_by_commune_quarterly') }}
    union all
    select
        'processing_time_by_procedure' as published_in,
        null as received,
        sum(resolved) as resolved,
        null as overdue
    from {{ ref('processing_time_by_procedure') }}

)

select
    published.published_in,
    facts.received,
    published.received as published_received,
    facts.resolved,
    published.resolved as published_resolved,
    facts.overdue,
    published.overdue as published_overdue
from published
cross join facts
where
    coalesce(published.received, facts.received) <> facts.received
    or coalesce(published.resolved, 0) <> facts.resolved
    or coalesce(published.overdue, facts.overdue) <> facts.overdue
