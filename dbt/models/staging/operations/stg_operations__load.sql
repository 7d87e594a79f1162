with source as (

    select * from {{ source('ops', 'load_log') }}

),

renamed as (

    select
        load_number,
        batch_id,
        source_code,
        origin,
        interval_start,
        interval_end,
        pulled_at,
        loaded_at

    from source

)

select * from renamed
