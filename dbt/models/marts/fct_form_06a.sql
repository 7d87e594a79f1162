{{
    config(
        indexes=[
            {'columns': ['form_key'], 'unique': true},
            {'columns': ['agency_code', 'closing', 'period']},
        ]
    )
}}

with change as (

    select * from {{ ref('int_form_06a__daily') }}

),

period_day as (

    select * from {{ ref('int_form_06a__period_day') }}

),

period as (

    select
        period_kind,
        closing,
        period,
        period_start,
        period_end,
        judged_date,
        count(*) filter (where is_covered) as covered_days
    from period_day
    group by period_kind, closing, period, period_start, period_end, judged_date

),

cell as (

    select
        agency_code,
        sector_name,
        origin,
        min(event_date) as first_date
    from change
    group by agency_code, sector_name, origin

),

in_period as (

    select
        change.agency_code,
        change.sector_name,
        change.origin,
        period_day.period_kind,
        period_day.closing,
        period_day.period,
        sum(change.new_online) as new_online,
        sum(change.new_other) as new_other,
        sum(change.transferred_in) as transferred_in,
        sum(change.resolved_early) as resolved_early,
        sum(change.resolved_on_time) as resolved_on_time,
        sum(change.resolved_overdue) as resolved_overdue,
        sum(change.transferred_out) as transferred_out,
        sum(change.open_change) as open_change,
        sum(change.overdue_change) as overdue_change
    from change
    inner join period_day on change.event_date = period_day.date_day
    group by
        change.agency_code,
        change.sector_name,
        change.origin,
        period_day.period_kind,
        period_day.closing,
        period_day.period

),

-- A period without a change still carries what is open.
counted as (

    select
        cell.agency_code,
        cell.sector_name,
        cell.origin,
        period.period_kind,
        period.closing,
        period.period,
        period.period_start,
        period.period_end,
        period.judged_date,
        period.covered_days,
        coalesce(in_period.new_online, 0) as new_online,
        coalesce(in_period.new_other, 0) as new_other,
        coalesce(in_period.transferred_in, 0) as transferred_in,
        coalesce(in_period.resolved_early, 0) as resolved_early,
        coalesce(in_period.resolved_on_time, 0) as resolved_on_time,
        coalesce(in_period.resolved_overdue, 0) as resolved_overdue,
        coalesce(in_period.transferred_out, 0) as transferred_out,
        coalesce(
            sum(in_period.open_change) over (
                stock rows between unbounded preceding and 1 preceding
            ), 0
        ) as carried_over,
        coalesce(sum(in_period.open_change) over (stock), 0) as open_total,
        coalesce(sum(in_period.overdue_change) over (stock), 0) as open_overdue
    from cell
    inner join period on cell.first_date <= period.period_end
    left join in_period
        on
            cell.agency_code = in_period.agency_code
            and cell.sector_name = in_period.sector_name
            and cell.origin = in_period.origin
            and period.period_kind = in_period.period_kind
            and period.closing = in_period.closing
            and period.period = in_period.period
    window stock as (
        partition by cell.agency_code, cell.sector_name, cell.origin, period.period_kind, period.closing
        order by period.period_start
    )

)

select
    md5(concat_ws('|', agency_code, sector_name, origin, period_kind, closing, period)) as form_key,
    agency_code,
    sector_name,
    period_kind,
    closing,
    period,
    period_start,
    period_end,
    judged_date,
    covered_days::integer as covered_days,
    (carried_over + new_online + new_other)::integer as received_total,
    new_online::integer as new_online,
    new_other::integer as new_other,
    carried_over::integer as carried_over,
    (resolved_early + resolved_on_time + resolved_overdue)::integer as resolved_total,
    resolved_early::integer as resolved_early,
    resolved_on_time::integer as resolved_on_time,
    resolved_overdue::integer as resolved_overdue,
    open_total::integer as open_total,
    (open_total - open_overdue)::integer as open_in_time,
    open_overdue::integer as open_overdue,
    transferred_in::integer as transferred_in,
    transferred_out::integer as transferred_out,
    origin
from counted
where
    carried_over <> 0
    or open_total <> 0
    or new_online + new_other + transferred_in <> 0
    or resolved_early + resolved_on_time + resolved_overdue + transferred_out <> 0
