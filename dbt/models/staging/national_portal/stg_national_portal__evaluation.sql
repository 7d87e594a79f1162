with source as (

    select * from {{ source('raw', 'evaluation') }}

),

renamed as (

    select
        source_code,
        endpoint,
        period,
        root_department_id,
        department_id,
        metric_code,
        department_code,
        department_name,
        metric_name,
        numerator,
        denominator,
        ratio,
        score,
        max_score,
        data_quality_status,
        captured_at,
        _origin as origin,
        _load_number as load_number

    from source

)

select * from renamed
