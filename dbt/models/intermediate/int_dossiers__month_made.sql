{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        indexes=[{'columns': ['model_name', 'received_month'], 'unique': true}]
    )
}}

-- Models kept by month write their own rows here, in the transaction that makes them (macro remember_months).
select
    null::text as model_name,
    null::date as received_month,
    null::text as month_fingerprint
where false
