{{
    kept_until_the_first_change(
        key='form_key', period_end='period_end',
        indexes=[{'columns': ['agency_code', 'closing', 'period']}, {'columns': ['period_end']}],
        first='set local enable_mergejoin = off'
    )
}}

-- Cells and periods are joined by six columns; PostgreSQL would merge them by three and compare the rest, each row of a
-- cell with each other one, which takes minutes where all periods are made.

-- The hooks read these only in incremental runs, which dbt does not see when it parses.
-- depends_on: {{ ref('int_dossiers__month') }}
-- depends_on: {{ ref('int_dossiers__month_made') }}

with period_day as (

    select
        *,
        {{ first_day_of_half_month('date_day') }} as half_month
    from {{ ref('int_form_06a__period_day') }}
    {% if is_incremental() %}
        where period_end >= {{ first_changed_month() }}
    {% endif %}

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

half_month_in_period as (

    select distinct
        half_month,
        period_kind,
        closing,
        period
    from period_day

),

-- Periods of both kinds begin on the 1st or the 15th, so their days are added up once for all six. What a source dates
-- after the last day it was asked about has not happened yet.
in_half_month as (

    select
        agency_code,
        sector_name,
        origin,
        {{ first_day_of_half_month('event_date') }} as half_month,
        sum(new_online)::integer as new_online,
        sum(new_other)::integer as new_other,
        sum(transferred_in)::integer as transferred_in,
        sum(resolved_early)::integer as resolved_early,
        sum(resolved_on_time)::integer as resolved_on_time,
        sum(resolved_overdue)::integer as resolved_overdue,
        sum(transferred_out)::integer as transferred_out,
        sum(open_change)::integer as open_change,
        sum(overdue_change)::integer as overdue_change
    from {{ ref('int_form_06a__daily') }}
    where
        {% if is_incremental() %}
            event_date between {{ first_and_last_day_to_make() }}
        {% else %}
            event_date <= (select max(period_day.judged_date) from period_day)
        {% endif %}
    group by agency_code, sector_name, origin, {{ first_day_of_half_month('event_date') }}

),

in_period as (

    select
        in_half_month.agency_code,
        in_half_month.sector_name,
        in_half_month.origin,
        half_month_in_period.period_kind,
        half_month_in_period.closing,
        half_month_in_period.period,
        sum(in_half_month.new_online)::integer as new_online,
        sum(in_half_month.new_other)::integer as new_other,
        sum(in_half_month.transferred_in)::integer as transferred_in,
        sum(in_half_month.resolved_early)::integer as resolved_early,
        sum(in_half_month.resolved_on_time)::integer as resolved_on_time,
        sum(in_half_month.resolved_overdue)::integer as resolved_overdue,
        sum(in_half_month.transferred_out)::integer as transferred_out,
        sum(in_half_month.open_change)::integer as open_change,
        sum(in_half_month.overdue_change)::integer as overdue_change
    from in_half_month
    inner join half_month_in_period on in_half_month.half_month = half_month_in_period.half_month
    group by
        in_half_month.agency_code,
        in_half_month.sector_name,
        in_half_month.origin,
        half_month_in_period.period_kind,
        half_month_in_period.closing,
        half_month_in_period.period

),

first_period as (

    select
        period_kind,
        closing,
        min(period_start) as period_start
    from period
    group by period_kind, closing

),

-- What the periods before them, which are kept, leave open to the ones that are made now.
opening as (

    select
        kept.agency_code,
        kept.sector_name,
        kept.origin,
        first_period.period_kind,
        first_period.closing,
        {% if is_incremental() %}
            kept.open_total,
            kept.open_overdue
        from {{ this }} as kept
        {% else %}
            0 as open_total,
            0 as open_overdue
        from in_half_month as kept
        {% endif %}
    inner join first_period
        on
            {% if is_incremental() %}
                kept.period_kind = first_period.period_kind
                and kept.closing = first_period.closing
                and kept.period_end = first_period.period_start - 1
                and kept.period_end in ({{ last_days_of_kept_periods() }})
            {% else %}
                false
            {% endif %}

),

held as (

    select
        agency_code,
        sector_name,
        origin,
        half_month as first_day
    from in_half_month
    union all
    select
        opening.agency_code,
        opening.sector_name,
        opening.origin,
        first_period.period_start as first_day
    from opening
    inner join first_period
        on opening.period_kind = first_period.period_kind and opening.closing = first_period.closing

),

cell as (

    select
        agency_code,
        sector_name,
        origin,
        min(first_day) as first_day
    from held
    group by agency_code, sector_name, origin

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
        coalesce(opening.open_total, 0) + coalesce(
            sum(in_period.open_change) over (
                stock rows between unbounded preceding and 1 preceding
            ), 0
        ) as carried_over,
        coalesce(opening.open_total, 0) + coalesce(sum(in_period.open_change) over (stock), 0) as open_total,
        coalesce(opening.open_overdue, 0) + coalesce(sum(in_period.overdue_change) over (stock), 0) as open_overdue
    from cell
    inner join period on cell.first_day <= period.period_end
    left join opening
        on
            cell.agency_code = opening.agency_code
            and cell.sector_name = opening.sector_name
            and cell.origin = opening.origin
            and period.period_kind = opening.period_kind
            and period.closing = opening.closing
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
