-- The published months hold every dossier received, and every one resolved, on a day that loads cover.
with facts as (

    select
        count(*) filter (where received_day.covered_date is not null and not fact.is_transferred_in) as received,
        count(*) filter (where completed_day.covered_date is not null and fact.is_resolved) as resolved
    from {{ ref('fct_dossier') }} as fact
    left join {{ ref('int_loads__covered_day') }} as received_day
        on fact.first_source_code = received_day.source_code and fact.received_date = received_day.covered_date
    left join {{ ref('int_loads__covered_day') }} as completed_day
        on fact.source_code = completed_day.source_code and fact.completed_date = completed_day.covered_date
    where fact.report_group <> 'not_received'

),

published as (

    select
        coalesce(sum(received), 0) as received,
        coalesce(sum(resolved_on_time + resolved_overdue), 0) as resolved
    from {{ ref('dossier_results_monthly') }}

)

select
    facts.received,
    published.received as published_received,
    facts.resolved,
    published.resolved as published_resolved
from facts
cross join published
where facts.received <> published.received or facts.resolved <> published.resolved
