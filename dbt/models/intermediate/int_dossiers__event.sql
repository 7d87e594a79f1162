-- An event counts where the load log covers its day in the system it happened in: a window also brings in dossiers of
-- other days, of which it does not hold all. A dossier handed over is received once, in its first system.
-- Sectors outside the fixed list are pooled: fifty of seventy have under 30 a month.
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
    where fact.report_group <> 'not_received'

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
    happened.dossier_key,
    happened.event_kind,
    happened.event_date,
    to_char(happened.event_date, 'YYYY-MM') as year_month,
    to_char(happened.event_date, 'YYYY-"Q"Q') as year_quarter,
    happened.system_code,
    happened.responsible_agency_code,
    happened.procedure_code,
    happened.sector_group,
    happened.channel_group,
    happened.channel_group_name,
    happened.applicant_commune_code,
    happened.received_date,
    happened.completed_date,
    happened.origin
from happened
inner join {{ ref('int_loads__covered_day') }} as covered_day
    on happened.system_code = covered_day.source_code and happened.event_date = covered_day.covered_date
