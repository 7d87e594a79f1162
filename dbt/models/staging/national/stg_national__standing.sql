with source as (

    select * from {{ source('national', 'standing') }}

),

renamed as (

    select
        class as difference_class,
        coalesce(nullif(agency_code, ''), '{{ var("unknown_code") }}') as responsible_agency_code,
        dossier_key,
        code_here,
        code_there,
        array_to_string(fields, ',') as field_names,
        array_to_string(sources, ',') as told_by,
        origin,
        received_date,
        there

    from source

)

select * from renamed
