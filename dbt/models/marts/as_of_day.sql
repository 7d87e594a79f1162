select
    as_of_date,
    last_covered_date
from {{ ref('int_loads__as_of') }}
