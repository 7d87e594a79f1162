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

dossier as (

    select * from {{ ref('int_service_index__dossier') }}

)

select
    dossier.counted_month,
    month_to_count.month_checksum,
    dossier.first_source_code as source_code,
    dossier.department_code,
    dossier.indicator_code,
    dossier.outcome,
    dossier.clause,
    -- What counts procedures needs to know which.
    case when dossier.counts_procedures then dossier.procedure_code end as procedure_code,
    count(*) as dossier_count,
    max(dossier.origin) as origin,
    max(dossier.load_number) as load_number
from dossier
inner join month_to_count on dossier.counted_month = month_to_count.counted_month
where dossier.outcome <> 'open'
group by
    dossier.counted_month,
    month_to_count.month_checksum,
    dossier.first_source_code,
    dossier.department_code,
    dossier.indicator_code,
    dossier.outcome,
    dossier.clause,
    case when dossier.counts_procedures then dossier.procedure_code end
