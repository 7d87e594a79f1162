with source as (

    select * from {{ source('raw', 'dossier_deletion') }}

),

renamed as (

    select
        source_code,
        dossier_id,
        missed_at,
        deleted_at,
        load_number

    from source

)

select * from renamed
