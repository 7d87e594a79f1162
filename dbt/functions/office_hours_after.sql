-- Office hours run on working days between opening and closing, without the break at noon.
with office as (

    select
        '{{ var("office_opens") }}'::time as opens,
        '{{ var("office_break_begins") }}'::time as break_begins,
        '{{ var("office_break_ends") }}'::time as break_ends,
        '{{ var("office_closes") }}'::time as closes

),

half as (

    select
        opens,
        break_ends,
        break_begins - opens as morning,
        (break_begins - opens) + (closes - break_ends) as whole
    from office

),

-- Office time between the opening of the first day of the calendar and the moment.
elapsed as (

    select
        (dim_date.working_day_number - dim_date.is_working_day::integer) * half.whole
        + case
            when dim_date.is_working_day
                then
                    greatest(least(counted_from::time - half.opens, half.morning), interval '0')
                    + greatest(least(counted_from::time - half.break_ends, half.whole - half.morning), interval '0')
            else interval '0'
        end
        + hours * interval '1 hour' as office_time
    from {{ ref('dim_date') }} as dim_date
    cross join half
    where dim_date.date_day = counted_from::date

),

-- An end at closing time is that, not the next opening.
placed as (

    select
        ceil(extract(epoch from elapsed.office_time) / extract(epoch from half.whole))::integer as day_number,
        elapsed.office_time
        - (ceil(extract(epoch from elapsed.office_time) / extract(epoch from half.whole)) - 1) * half.whole as in_day,
        half.opens,
        half.morning,
        half.break_ends
    from elapsed
    cross join half

)

select
    dim_date.date_day
    + case
        when placed.in_day <= placed.morning
            then placed.opens + placed.in_day
        else placed.break_ends + (placed.in_day - placed.morning)
    end
from placed
inner join {{ ref('dim_date') }} as dim_date
    on dim_date.is_working_day and placed.day_number = dim_date.working_day_number
