-- When a dossier is due by the time limit of its procedure. A term that ends on a day off ends on the next working day
-- (Bộ luật Dân sự 2015, Điều 148); the time of the day is that of the receipt.
with receipt as (

    select {{ function('received_for_deadline') }}(received_at, open_on_saturday) as counted_from

),

ended as (

    select
        counted_from,
        case
            when unit = 'WORKING_DAY'
                then {{ function('working_days_after') }}(counted_from::date, ceil(amount)::integer)
            when unit = 'DAY' then {{ function('working_days_after') }}(counted_from::date + ceil(amount)::integer, 0)
            when unit = 'MONTH'
                then {{ function('working_days_after') }}((counted_from + amount * interval '1 month')::date, 0)
            when unit = 'YEAR'
                then {{ function('working_days_after') }}((counted_from + amount * interval '1 year')::date, 0)
        end as last_day
    from receipt

)

select
    case
        when amount is null or amount <= 0 then null
        when unit in ('HOUR', 'WORKING_HOUR') then {{ function('office_hours_after') }}(counted_from, amount)
        when unit = 'MINUTE' then {{ function('office_hours_after') }}(counted_from, amount / 60)
        else last_day + counted_from::time
    end at time zone '{{ var("business_time_zone") }}'
from ended
