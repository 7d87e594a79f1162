with source as (

    select * from {{ source('raw', 'person_pseudonym') }}

),

renamed as (

    select
        agency_code,
        person_token,
        pseudonym

    from source

)

select * from renamed
