with source as (

    select * from {{ source('national', 'difference') }}

),

renamed as (

    select
        number as comparison_number,
        class as difference_class,
        coalesce(nullif(agency_code, ''), '{{ var("unknown_code") }}') as responsible_agency_code,
        dossier_key,
        code_here,
        code_there,
        array_to_string(fields, ',') as field_names,
        cure,
        origin,
        received_date,
        there

    from source

)

select * from renamed
