with source as (

    select * from {{ source('national', 'assumed') }}

),

renamed as (

    select
        scenario,
        dossier_key,
        base,
        changes,
        is_absent

    from source

)

select * from renamed
