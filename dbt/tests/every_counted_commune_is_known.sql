{{ config(severity='warn') }}

-- A code that the lists do not know on the day of the figures is to be asked back; its people count all the same.
select
    source_code,
    commune_code,
    as_of_date
from {{ ref('fct_population_count') }}
where commune_key is null and as_of_date >= '{{ var("administrative_units_known_from") }}'::date
group by source_code, commune_code, as_of_date
