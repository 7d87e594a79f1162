{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        pre_hook='{{ delete_waiting_steps_of_changed_records() }}'
    )
}}

-- What is read in incremental runs alone, which dbt does not see when it parses.
-- depends_on: {{ ref('stg_dossiers__change') }}

-- Kept, so that those of old loads are told as long as they wait, without a search through all steps: whether a step
-- waits changes with its record alone.
select
    step.source_code,
    step.dossier_id,
    step.step_no
from {{ ref('stg_dossiers__step') }} as step
{% if is_incremental() %}
    inner join {{ records_changed_since_tested() }} as changed
        on step.source_code = changed.source_code and step.dossier_id = changed.dossier_id
{% endif %}
where
    not exists (
        select 1 from {{ ref('stg_dossiers__dossier') }} as dossier
        where step.source_code = dossier.source_code and step.dossier_id = dossier.dossier_id
    )
