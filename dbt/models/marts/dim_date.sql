{{ config(indexes=[{'columns': ['date_day'], 'unique': true}, {'columns': ['working_day_number']}]) }}

-- The functions of deadlines look days up by both.
with day as (

    select generate_series(
        '{{ var("calendar_first_day") }}'::timestamp, '{{ var("calendar_last_day") }}'::timestamp, interval '1 day'
    )::date as date_day

),

holiday as (

    select
        holiday_date::date as holiday_date,
        string_agg(holiday_name, '; ' order by holiday_name) as holiday_name
    from {{ ref('public_holiday') }}
    group by holiday_date

),

make_up as (

    select working_day::date as working_date from {{ ref('working_day_swap') }}

),

judged as (

    select
        day.date_day,
        holiday.holiday_name,
        make_up.working_date is not null as is_make_up_day,
        make_up.working_date is not null
        or (extract(isodow from day.date_day) < 6 and holiday.holiday_date is null) as is_working_day
    from day
    left join holiday on day.date_day = holiday.holiday_date
    left join make_up on day.date_day = make_up.working_date

)

select
    date_day,
    extract(year from date_day)::integer as calendar_year,
    extract(quarter from date_day)::integer as calendar_quarter,
    extract(month from date_day)::integer as calendar_month,
    to_char(date_day, 'YYYY-MM') as year_month,
    extract(isodow from date_day)::integer as day_of_week,
    holiday_name is not null as is_public_holiday,
    holiday_name,
    is_make_up_day,
    is_working_day,
    (count(*) filter (where is_working_day) over (order by date_day))::integer as working_day_number
from judged
