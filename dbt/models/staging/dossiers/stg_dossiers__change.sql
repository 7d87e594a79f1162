with source as (

    select * from {{ source('raw', 'dossier_change') }}

),

renamed as (

    select
        source_code,
        dossier_id,
        load_number

    from source

)

select * from renamed
