-- Nobody is lost and nobody counts twice on the way from the files to the fact.
with file_count as (

    select
        source_code,
        as_of_date,
        count(*) as counts,
        sum(population) as people
    from {{ ref('stg_files__population_count') }}
    group by source_code, as_of_date

),

fact as (

    select
        source_code,
        as_of_date,
        count(*) as counts,
        sum(population) as people
    from {{ ref('fct_population_count') }}
    group by source_code, as_of_date

)

select
    file_count.source_code,
    fact.source_code as fact_source_code,
    file_count.people,
    fact.people as fact_people
from file_count
full join fact on file_count.source_code = fact.source_code and file_count.as_of_date = fact.as_of_date
where file_count.counts is distinct from fact.counts or file_count.people is distinct from fact.people
