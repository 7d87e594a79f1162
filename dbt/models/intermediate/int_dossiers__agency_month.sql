{{ kept_by_month(months='int_dossiers__event_month', month_made=first_day_of_month('year_month')) }}

-- The hooks read these only in incremental runs, which dbt does not see when it parses.
-- depends_on: {{ ref('int_dossiers__event_month') }}
-- depends_on: {{ ref('int_dossiers__month_made') }}

select
    year_month,
    system_code,
    responsible_agency_code,
    (count(*) filter (where event_kind = 'received'))::integer as received,
    (count(*) filter (where event_kind = 'resolved_on_time'))::integer as resolved_on_time,
    (count(*) filter (where event_kind = 'resolved_overdue'))::integer as resolved_overdue,
    origin
from {{ ref('int_dossiers__event') }}
where {{ is_in_a_changed_month('event_date', 'int_dossiers__event_month') }}
group by year_month, system_code, responsible_agency_code, origin
