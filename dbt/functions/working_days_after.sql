-- The day itself is not counted: a term in days begins with the next one (Bộ luật Dân sự 2015, Điều 147).
select later.date_day
from {{ ref('dim_date') }} as from_day
inner join {{ ref('dim_date') }} as later
    on later.is_working_day and later.working_day_number = from_day.working_day_number + number_of_days
where from_day.date_day = counted_from and number_of_days > 0
union all
-- None to count: the day, or the next working day.
select min(later.date_day)
from {{ ref('dim_date') }} as later
where later.is_working_day and later.date_day >= counted_from and number_of_days = 0
having min(later.date_day) is not null
limit 1
