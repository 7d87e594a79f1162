-- What changes the open dossiers of a day is what came and what left on it, and no day ends with less than none open or
-- with more of them overdue than there are. Every period's balance is a sum of these days.
with change as (

    select
        agency_code,
        sector_name,
        origin,
        -- What lies before the first month that changed stands in one row.
        greatest(event_date, {{ first_day_not_tested() }} - 1) as event_date,
        sum(open_change) as open_change,
        sum(new_online + new_other + transferred_in) as came,
        sum(resolved_early + resolved_on_time + resolved_overdue + transferred_out) as went,
        sum(overdue_change) as overdue_change
    from {{ ref('int_form_06a__daily') }}
    group by agency_code, sector_name, origin, greatest(event_date, {{ first_day_not_tested() }} - 1)

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
