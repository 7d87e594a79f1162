-- An event counts where the load log covers its day in the system it happened in: a window also brings in
-- dossiers of other days, of which it does not hold all.
-- No sum of the counts and no stock of open dossiers stands here: with either, a withheld count could be
-- found by subtraction.

with dossier as (

    select * from {{ ref('fct_dossier') }}
    where report_group <> 'not_received'

),

covered_day as (

    select * from {{ ref('int_loads__covered_day') }}

),

event as (

    select
        first_source_code as system_code,
        received_date as event_date,
        sector_name,
        channel,
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
        sector_name,
        channel,
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

by_cell as (

    select
        to_char(event.event_date, 'YYYY-MM') as year_month,
        event.system_code,
        coalesce(event.sector_name, 'Không rõ') as sector_name,
        event.channel,
        event.origin,
        sum(event.received)::integer as received,
        sum(event.resolved_on_time)::integer as resolved_on_time,
        sum(event.resolved_overdue)::integer as resolved_overdue
    from event
    inner join covered_day
        on event.system_code = covered_day.source_code and event.event_date = covered_day.covered_date
    group by
        to_char(event.event_date, 'YYYY-MM'),
        event.system_code,
        coalesce(event.sector_name, 'Không rõ'),
        event.channel,
        event.origin

)

select
    by_cell.year_month,
    by_cell.system_code,
    by_cell.sector_name,
    by_cell.channel,
    channel.channel_name_vi as channel_name,
    by_cell.received,
    by_cell.resolved_on_time,
    by_cell.resolved_overdue,
    days_covered.covered_days,
    by_cell.origin
from by_cell
inner join days_covered
    on by_cell.system_code = days_covered.system_code and by_cell.year_month = days_covered.year_month
left join {{ ref('channel') }} as channel on by_cell.channel = channel.channel::smallint
