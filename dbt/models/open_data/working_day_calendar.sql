-- The calendar by which deadlines are counted: the same rows the warehouse itself uses.
select
    date_day,
    is_working_day,
    is_public_holiday,
    holiday_name,
    is_make_up_day,
    day_of_week,
    working_day_number,
    'real' as origin
from {{ ref('dim_date') }}
