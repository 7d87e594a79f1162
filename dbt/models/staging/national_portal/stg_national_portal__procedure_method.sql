with source as (

    select * from {{ source('raw', 'procedure_method') }}

),

renamed as (

    select
        source_code,
        procedure_id,
        method_no,
        channel,
        duration,
        duration_unit,
        fee_vnd,
        fee_amount,
        fee_currency,
        fee_text,
        _origin as origin,
        _load_number as load_number

    from source

)

select * from renamed
