{{ kept_by_month(indexes=[{'columns': ['event_date']}, {'columns': ['load_number']}]) }}

-- The hooks read these only in incremental runs, which dbt does not see when it parses.
-- depends_on: {{ ref('int_dossiers__month') }}
-- depends_on: {{ ref('int_dossiers__month_made') }}

-- A dossier handed over is received once, in its first system. Sectors outside the fixed list are pooled: fifty of
-- seventy have under 30 a month.
with dossier as (

    select
        fact.*,
        coalesce(reported_sector.sector_name, 'Các lĩnh vực khác') as sector_group,
        channel.channel_group,
        channel.channel_group_name
    from {{ ref('fct_dossier') }} as fact
    inner join {{ ref('channel') }} as channel on fact.channel = channel.channel::smallint
    left join {{ ref('reported_sector') }} as reported_sector
        on fact.sector_name = {{ in_one_spelling('reported_sector.sector_name') }}
    where fact.report_group <> 'not_received' and {{ is_in_a_changed_month('fact.received_date') }}

),

happened as (

    select
        dossier.*,
        'received' as event_kind,
        dossier.first_source_code as system_code,
        dossier.received_date as event_date
    from dossier
    where not dossier.is_transferred_in
    union all
    select
        dossier.*,
        case when dossier.is_overdue then 'resolved_overdue' else 'resolved_on_time' end as event_kind,
        dossier.source_code as system_code,
        dossier.completed_date as event_date
    from dossier
    where dossier.is_resolved and dossier.completed_date is not null

)

select
    dossier_key,
    event_kind,
    event_date,
    system_code,
    responsible_agency_code,
    procedure_code,
    sector_group,
    channel_group,
    channel_group_name,
    applicant_commune_code,
    received_date,
    completed_date,
    {{ month_of('received_date') }} as received_month,
    origin,
    load_number
from happened
