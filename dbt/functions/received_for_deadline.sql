-- From when a time limit runs: out of office hours a dossier counts as received when the office next opens. A one-stop
-- open on Saturday receives then too, and the office's own hours go on from the next working day.
with receipt as (

    select
        received_at at time zone '{{ var("business_time_zone") }}' as local_time,
        (received_at at time zone '{{ var("business_time_zone") }}')::date as local_day,
        (received_at at time zone '{{ var("business_time_zone") }}')::time as day_time

),

receiving_day as (

    select
        receipt.local_time,
        receipt.local_day,
        receipt.day_time,
        (
            dim_date.is_working_day
            or (coalesce(open_on_saturday, false) and dim_date.day_of_week = 6 and not dim_date.is_public_holiday)
        ) as is_open
    from receipt
    inner join {{ ref('dim_date') }} as dim_date on receipt.local_day = dim_date.date_day

)

select
    case
        when receiving_day.is_open and receiving_day.day_time < '{{ var("office_closes") }}'::time
            then greatest(receiving_day.local_time, receiving_day.local_day + '{{ var("office_opens") }}'::time)
        else (
            select min(later.date_day) + '{{ var("office_opens") }}'::time
            from {{ ref('dim_date') }} as later
            where later.is_working_day and later.date_day > receiving_day.local_day
        )
    end
from receiving_day
