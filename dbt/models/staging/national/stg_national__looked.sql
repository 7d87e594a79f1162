with source as (

    select * from {{ source('national', 'looked') }}

),

renamed as (

    select
        dossier_key,
        looked_at

    from source

)

select * from renamed
