{% set first_day = first_day_not_tested() %}

-- What changes the open dossiers of a day is what came and what left on it, and no day ends with less than none open or
-- with more of them overdue than there are. Every period's balance is a sum of these days.
with change as (

    select
        agency_code,
        sector_name,
        origin,
        event_date,
        sum(open_change) as open_change,
        sum(new_online + new_other + transferred_in) as came,
        sum(resolved_early + resolved_on_time + resolved_overdue + transferred_out) as went,
        sum(overdue_change) as overdue_change
    from {{ ref('int_form_06a__daily') }}
    where event_date >= {{ first_day }}
    group by agency_code, sector_name, origin, event_date
    union all
    -- The days before were tested when they changed; what they left open is what the form's last month of them says.
    select
        agency_code,
        sector_name,
        origin,
        period_end as event_date,
        open_total as open_change,
        open_total as came,
        0 as went,
        open_overdue as overdue_change
    from {{ ref('fct_form_06a') }}
    where period_kind = 'month' and closing = 'calendar' and period_end = {{ first_day }} - 1

),

day_end as (

    select
        *,
        sum(open_change) over to_date as open_total,
        sum(overdue_change) over to_date as open_overdue
    from change
    window to_date as (partition by agency_code, sector_name, origin order by event_date)

)

select * from day_end
where came - went <> open_change or open_overdue < 0 or open_overdue > open_total
