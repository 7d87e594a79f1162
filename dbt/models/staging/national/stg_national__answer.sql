with source as (

    select * from {{ source('national', 'answer') }}

),

renamed as (

    select
        class as difference_class,
        code as dossier_code,
        agency_code,
        answer,
        answered_at

    from source

)

select * from renamed
