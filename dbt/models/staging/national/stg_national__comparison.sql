with source as (

    select * from {{ source('national', 'comparison') }}

),

renamed as (

    select
        number as comparison_number,
        source as told_by,
        first_day,
        last_day,
        compared_at

    from source

)

select * from renamed
