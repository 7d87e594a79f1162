{{ kept_by_month() }}

-- The hooks read these only in incremental runs, which dbt does not see when it parses.
-- depends_on: {{ ref('int_dossiers__month') }}
-- depends_on: {{ ref('int_dossiers__month_made') }}

select
    received_month,
    {{ month_of('event_date') }} as event_month,
    system_code,
    count(*) as event_count,
    sum(hashtextextended(concat_ws(
        '|', dossier_key, event_kind, event_date, system_code, responsible_agency_code, procedure_code, sector_group,
        channel_group, coalesce(applicant_commune_code, ''), received_date, completed_date, origin
    ), 0)) as event_sum
from {{ ref('int_dossiers__happened') }}
where {{ is_of_a_changed_month('received_month') }}
group by received_month, {{ month_of('event_date') }}, system_code
