with source as (

    select * from {{ source('raw', 'citizen_check') }}

),

renamed as (

    select
        -- identifiers
        source_code,
        check_id,
        person_token,

        -- what was asked about
        name_reference,
        asked_birth_year,

        -- answer
        operation,
        outcome,
        differs_in,
        agreement,
        checked_at,

        -- lineage
        _origin as origin,
        _load_number as load_number

    from source

)

select * from renamed
