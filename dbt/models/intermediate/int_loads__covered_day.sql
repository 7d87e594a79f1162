{{ config(materialized='table', post_hook='analyze {{ this }}') }}

with load as (

    -- Found deletions stand with an empty interval: they cover no day.
    select * from {{ ref('stg_operations__load') }}
    where interval_start < interval_end

),

covered as (

    select distinct
        load.source_code,
        series.moment::date as covered_date
    from load
    cross join lateral generate_series(
        {{ local_date('load.interval_start') }}::timestamp,
        {{ last_local_day_before('load.interval_end') }}::timestamp,
        interval '1 day'
    ) as series (moment)

)

select * from covered
