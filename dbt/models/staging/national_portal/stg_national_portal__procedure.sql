with source as (

    select * from {{ source('raw', 'procedure') }}

),

renamed as (

    select
        source_code,
        procedure_id,
        procedure_code,
        procedure_name,
        state as procedure_state,
        procedure_type,
        sector_code,
        sector_name,
        issuing_agency_code,
        issuing_agency_name,
        is_ministry_level,
        is_province_level,
        is_commune_level,
        result_names,
        decision_number,
        source_created_at,
        source_updated_at,
        _origin as origin,
        _load_number as load_number

    from source

)

select * from renamed
