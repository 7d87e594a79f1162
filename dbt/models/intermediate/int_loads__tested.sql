{{ config(materialized='incremental', incremental_strategy='append', on_schema_change='fail') }}

-- The end of a build writes its row here when all tests have passed (macro remember_what_was_tested).
select
    null::bigint as load_number,
    null::timestamptz as tested_at
where false
