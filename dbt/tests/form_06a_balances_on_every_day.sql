-- What changes the open dossiers of a day is what came and what left on it, and no day ends with less than none open or
-- with more of them overdue than there are. Every period's balance is a sum of these days.
with day_end as (

    select
        agency_code,
        sector_name,
        origin,
        event_date,
        open_change,
        new_online + new_other + transferred_in as came,
        resolved_early + resolved_on_time + resolved_overdue + transferred_out as went,
        sum(open_change) over to_date as open_total,
        sum(overdue_change) over to_date as open_overdue
    from {{ ref('int_form_06a__daily') }}
    window to_date as (partition by agency_code, sector_name, origin order by event_date)

)

select * from day_end
where came - went <> open_change or open_overdue < 0 or open_overdue > open_total
