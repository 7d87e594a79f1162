-- An event counts where the load log covers its day in the system it happened in: a window also brings in
-- dossiers of other days, of which it does not hold all.
-- No sum of the counts and no stock of open dossiers stands here: with either, a withheld count could be
-- found by subtraction. Sectors outside the fixed list are pooled: fifty of seventy have under 30 a month.

with dossier as (

    select
        fact.source_code,
        fact.first_source_code,
        fact.received_date,
        fact.completed_date,
        fact.is_transferred_in,
        fact.is_resolved,
        fact.is_overdue,
        fact.origin,
        coalesce(reported_sector.sector_name, 'Các lĩnh vực khác') as sector_group,
        channel.channel_group,
        channel.channel_group_name
    from {{ ref('fct_dossier') }} as fact
    inner join {{ ref('channel') }} as channel on fact.channel = channel.channel::smallint
    left join {{ ref('reported_sector') }} as reported_sector
        on fact.sector_name = {{ in_one_spelling('reported_sector.sector_name') }}
    where fact.report_group <> 'not_received'

),

covered_day as (

    select * from {{ ref('int_loads__covered_day') }}

),

event as (

    select
        first_source_code as system_code,
        received_date as event_date,
        sector_group,
        channel_group,
        channel_group_name,
        origin,
        1 as received,
        0 as resolved_on_time,
        0 as resolved_overdue
    from dossier
    where not is_transferred_in
    union all
    select
        source_code as system_code,
        completed_date as event_date,
        sector_group,
        channel_group,
        channel_group_name,
        origin,
        0 as received,
        (not is_overdue)::integer as resolved_on_time,
        is_overdue::integer as resolved_overdue
    from dossier
    where is_resolved and completed_date is not null

),

days_covered as (

    select
        source_code as system_code,
        to_char(covered_date, 'YYYY-MM') as year_month,
        count(*)::integer as covered_days
    from covered_day
    group by source_code, to_char(covered_date, 'YYYY-MM')

),

dated as (

    select
        event.*,
        to_char(event.event_date, 'YYYY-MM') as year_month
    from event
    inner join covered_day
        on event.system_code = covered_day.source_code and event.event_date = covered_day.covered_date

),

by_cell as (

    select
        year_month,
        system_code,
        sector_group,
        channel_group,
        channel_group_name,
        origin,
        sum(received)::integer as received,
        sum(resolved_on_time)::integer as resolved_on_time,
        sum(resolved_overdue)::integer as resolved_overdue
    from dated
    group by year_month, system_code, sector_group, channel_group, channel_group_name, origin

)

select
    by_cell.year_month,
    by_cell.system_code,
    by_cell.sector_group,
    by_cell.channel_group,
    by_cell.channel_group_name,
    by_cell.received,
    by_cell.resolved_on_time,
    by_cell.resolved_overdue,
    days_covered.covered_days,
    -- a month some of whose days no load covers may still change
    days_covered.covered_days < extract(day from (
        (by_cell.year_month || '-01')::date + interval '1 month' - interval '1 day'
    )) as is_provisional,
    by_cell.origin
from by_cell
inner join days_covered
    on by_cell.system_code = days_covered.system_code and by_cell.year_month = days_covered.year_month
