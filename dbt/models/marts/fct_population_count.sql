{{
    config(
        indexes=[
            {'columns': ['population_count_key'], 'unique': true},
            {'columns': ['commune_code', 'as_of_date']},
        ]
    )
}}

with counted as (

    select * from {{ ref('stg_files__population_count') }}

),

unit as (

    select * from {{ ref('dim_administrative_unit') }}
    where unit_level = 'commune'

),

final as (

    select
        md5(concat_ws(
            '|', counted.source_code, counted.commune_code, counted.as_of_date, counted.age_band, counted.sex
        )) as population_count_key,
        counted.source_code,
        counted.as_of_date,

        -- place: null where the lists do not know the code on that day
        counted.commune_code,
        unit.unit_key as commune_key,
        unit.unit_name as commune_name,
        unit.province_code,

        -- group
        counted.age_band,
        counted.age_from,
        counted.age_to,
        counted.sex,

        -- measure
        counted.population,

        -- lineage
        counted.origin,
        counted.load_number
    from counted
    left join unit on {{ administrative_unit_as_of('unit', 'counted.commune_code', 'counted.as_of_date') }}

)

select * from final
