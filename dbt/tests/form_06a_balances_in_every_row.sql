-- Carried over + new + transferred in = resolved + open + transferred out, in every row, also across the
-- reorganisations; and what is open at a period's end is what the next period carries over, unless nothing is left.
with form as (

    select * from {{ ref('fct_form_06a') }}
    where period_end >= {{ first_day_not_tested() }} - 1

),

following as (

    select * from form

),

next_period as (

    select
        form.form_key,
        form.open_total,
        coalesce(following.carried_over, 0) as carried_over
    from form
    left join following
        on
            form.agency_code = following.agency_code
            and form.sector_name = following.sector_name
            and form.origin = following.origin
            and form.period_kind = following.period_kind
            and form.closing = following.closing
            and form.period_end + 1 = following.period_start
    where
        form.judged_date = form.period_end
        and form.period_end < (select max(last_one.judged_date) from form as last_one)

)

select
    form_key,
    'unbalanced' as what
from form
where
    carried_over + new_online + new_other + transferred_in <> resolved_total + open_total + transferred_out
    or received_total <> carried_over + new_online + new_other
    or resolved_total <> resolved_early + resolved_on_time + resolved_overdue
    or open_total <> open_in_time + open_overdue
    or least(
        carried_over, new_online, new_other, transferred_in, transferred_out, resolved_early, resolved_on_time,
        resolved_overdue, open_in_time, open_overdue
    ) < 0
union all
select
    form_key,
    'not carried over' as what
from next_period
where open_total <> carried_over
