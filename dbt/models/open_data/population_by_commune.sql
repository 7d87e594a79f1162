-- As counted on a day, with the communes of that day and the area that is the same before and since 1/7/2025.
select
    counted.as_of_date,
    counted.commune_code,
    coalesce(counted.commune_name, '(' || counted.commune_code || ')') as commune_name,
    area.area_code,
    area.area_name,
    counted.age_band,
    counted.sex,
    counted.origin,
    sum(counted.population)::integer as population
from {{ ref('fct_population_count') }} as counted
left join {{ ref('dim_comparable_area') }} as area
    on {{ comparable_area_of('area', 'counted.commune_code', 'counted.as_of_date') }}
group by
    counted.as_of_date, counted.commune_code, counted.commune_name, area.area_code, area.area_name, counted.age_band,
    counted.sex, counted.origin
