{{
    config(
        materialized='view',
        post_hook='alter view {{ this }} set (security_invoker = true)',
    )
}}

-- Form II.06a of an agency and all units below it as one body: handovers inside cancel out, everything else adds up.
-- For those who read the form of every agency: whoever sees a part of the units would get a part of the sum.

with rolled as (

    select
        tree.agency_code,
        form.sector_name,
        form.origin,
        form.period_kind,
        form.closing,
        form.period,
        form.period_start,
        form.period_end,
        form.judged_date,
        form.covered_days,
        sum(form.new_online) as new_online,
        sum(form.new_other) as new_other,
        sum(form.carried_over) as carried_over,
        sum(form.resolved_early) as resolved_early,
        sum(form.resolved_on_time) as resolved_on_time,
        sum(form.resolved_overdue) as resolved_overdue,
        sum(form.open_in_time) as open_in_time,
        sum(form.open_overdue) as open_overdue,
        sum(form.transferred_in) as transferred_in,
        sum(form.transferred_out) as transferred_out,
        count(distinct form.agency_code) as agency_count
    from {{ ref('bridge_agency_subordinate') }} as tree
    inner join {{ ref('fct_form_06a') }} as form on tree.subordinate_agency_code = form.agency_code
    group by
        tree.agency_code, form.sector_name, form.origin, form.period_kind, form.closing, form.period,
        form.period_start, form.period_end, form.judged_date, form.covered_days

),

settled as (

    select
        rolled.*,
        coalesce(
            (
                select sum(inside.transferred)
                from {{ ref('fct_transfer_within') }} as inside
                where
                    rolled.agency_code = inside.agency_code
                    and rolled.sector_name = inside.sector_name
                    and rolled.origin = inside.origin
                    and inside.event_date between rolled.period_start and rolled.judged_date
            ), 0
        ) as transferred_within
    from rolled

)

select
    agency_code,
    sector_name,
    period_kind,
    closing,
    period,
    period_start,
    period_end,
    judged_date,
    covered_days,
    agency_count::integer as agency_count,
    (carried_over + new_online + new_other)::integer as received_total,
    new_online::integer as new_online,
    new_other::integer as new_other,
    carried_over::integer as carried_over,
    (resolved_early + resolved_on_time + resolved_overdue)::integer as resolved_total,
    resolved_early::integer as resolved_early,
    resolved_on_time::integer as resolved_on_time,
    resolved_overdue::integer as resolved_overdue,
    (open_in_time + open_overdue)::integer as open_total,
    open_in_time::integer as open_in_time,
    open_overdue::integer as open_overdue,
    (transferred_in - transferred_within)::integer as transferred_in,
    (transferred_out - transferred_within)::integer as transferred_out,
    transferred_within::integer as transferred_within,
    origin
from settled
