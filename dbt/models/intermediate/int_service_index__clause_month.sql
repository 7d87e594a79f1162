{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        pre_hook='{{ delete_months_counted_otherwise() }}',
        indexes=[{'columns': ['counted_month']}]
    )
}}

-- Months that no change has reached stay as they are, so that a day's build does not grow with the history.
-- What the period decides (no end yet) is not in here: it changes by the passing of days alone.
with month_to_count as (

    select month_now.*
    from {{ ref('int_service_index__month') }} as month_now
    {% if is_incremental() %}
        where
            not exists (
                select 1 from {{ this }} as counted
                where
                    counted.counted_month = month_now.counted_month
                    and counted.month_checksum = month_now.month_checksum
            )
    {% endif %}

),

counted as (

    select
        counted_month,
        first_source_code as source_code,
        department_code,
        indicator_code,
        decided,
        -- What counts procedures needs to know which.
        case when counts_procedures then procedure_code end as procedure_code,
        count(*) as dossier_count,
        max(origin) as origin,
        max(load_number) as load_number
    from {{ ref('int_service_index__dossier') }}
    where counted_month in (select month_to_count.counted_month from month_to_count) and decided not like 'open:%'
    group by
        counted_month,
        first_source_code,
        department_code,
        indicator_code,
        decided,
        case when counts_procedures then procedure_code end

)

select
    counted.counted_month,
    month_to_count.month_checksum,
    counted.source_code,
    counted.department_code,
    counted.indicator_code,
    split_part(counted.decided, ':', 1) as outcome,
    split_part(counted.decided, ':', 2) as clause,
    counted.procedure_code,
    counted.dossier_count,
    counted.origin,
    counted.load_number
from counted
inner join month_to_count on counted.counted_month = month_to_count.counted_month
