with source as (

    select * from {{ source('raw', 'agency') }}

),

renamed as (

    select
        source_code,
        agency_code,
        agency_name,
        parent_agency_code,
        agency_level,
        unit_code,
        _origin as origin,
        _load_number as load_number

    from source

)

select * from renamed
