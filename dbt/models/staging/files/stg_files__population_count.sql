with source as (

    select * from {{ source('raw', 'population_count') }}

),

renamed as (

    select
        source_code,
        commune_code,
        as_of_date,
        age_band,
        split_part(replace(age_band, '+', ''), '-', 1)::smallint as age_from,
        nullif(split_part(age_band, '-', 2), '')::smallint as age_to,
        sex,
        population,
        _origin as origin,
        _load_number as load_number

    from source

)

select * from renamed
