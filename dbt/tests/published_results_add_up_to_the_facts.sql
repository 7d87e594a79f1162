{% set first_day = "date_trunc('quarter', " ~ first_day_not_tested() ~ ")::date" %}

-- Each table of open data holds every dossier received, and every one resolved, on a day that loads cover.
with fact as (

    select
        *,
        received_date >= {{ first_day }} and not is_transferred_in as is_received,
        completed_date >= {{ first_day }} and is_resolved as is_resolved_then
    from {{ ref('fct_dossier') }}
    where
        report_group <> 'not_received'
        and (received_date >= {{ first_day }} or completed_date >= {{ first_day }})

),

facts as (

    select
        count(*) filter (where received_day.covered_date is not null and fact.is_received) as received,
        count(*) filter (where completed_day.covered_date is not null and fact.is_resolved_then) as resolved,
        count(*) filter (where completed_day.covered_date is not null and fact.is_resolved_then and fact.is_overdue)
            as overdue
    from fact
    left join {{ ref('int_loads__covered_day') }} as received_day
        on fact.first_source_code = received_day.source_code and fact.received_date = received_day.covered_date
    left join {{ ref('int_loads__covered_day') }} as completed_day
        on fact.source_code = completed_day.source_code and fact.completed_date = completed_day.covered_date

),

published as (

    select
        'dossier_results_monthly' as published_in,
        sum(received) as received,
        sum(resolved_on_time + resolved_overdue) as resolved,
        sum(resolved_overdue) as overdue
    from {{ ref('dossier_results_monthly') }}
    where year_month >= to_char({{ first_day }}, 'YYYY-MM')
    union all
    select
        'dossier_results_by_agency_monthly' as published_in,
        sum(received) as received,
        sum(resolved_on_time + resolved_overdue) as resolved,
        sum(resolved_overdue) as overdue
    from {{ ref('dossier_results_by_agency_monthly') }}
    where year_month >= to_char({{ first_day }}, 'YYYY-MM')
    union all
    select
        'timeliness_by_commune_quarterly' as published_in,
        null as received,
        sum(resolved_on_time + resolved_overdue) as resolved,
        sum(resolved_overdue) as overdue
    from {{ ref('timeliness_by_commune_quarterly') }}
    where year_quarter >= to_char({{ first_day }}, 'YYYY-"Q"Q')
    union all
    select
        'processing_time_by_procedure' as published_in,
        null as received,
        sum(resolved) as resolved,
        null as overdue
    from {{ ref('processing_time_by_procedure') }}
    where year_quarter >= to_char({{ first_day }}, 'YYYY-"Q"Q')

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
