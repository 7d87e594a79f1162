{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key='step_key',
        on_schema_change='fail',
        pre_hook=[
            '{{ add_agency_of_the_dossier() }}',
            '{{ delete_rows_of_relinked_records() }}',
        ],
        post_hook='{{ index_of_this_version(["responsible_agency_code"]) }}',
        indexes=[
            {'columns': ['step_key'], 'unique': true},
            {'columns': ['dossier_key']},
            {'columns': ['source_code', 'dossier_id']},
            {'columns': ['responsible_agency_code']},
            {'columns': ['load_number']},
        ]
    )
}}

with step as (

    select * from {{ ref('stg_dossiers__step') }}

),

link as (

    select * from {{ ref('int_dossiers__record') }}
    where
        not is_removed
        {% if is_incremental() %}and linked_in_load > {{ newest_load_in(this) }}{% endif %}

),

-- The dossier's agency stands in every step: rights on rows are given by it (ops/roles.yml).
dossier as (

    select
        dossier_key,
        responsible_agency_code
    from {{ ref('fct_dossier') }}

),

source_status as (

    select * from {{ ref('source_status') }}

),

final as (

    select
        md5(step.source_code || '|' || step.dossier_id || '|' || step.step_no) as step_key,
        link.dossier_key,
        step.source_code,
        step.dossier_id,
        link.is_current as is_current_record,
        step.step_no,
        step.step_name,
        step.agency_code,
        dossier.responsible_agency_code,
        step.started_at,
        step.due_at,
        step.finished_at,
        {{ local_date('step.started_at') }} as started_date,
        {{ local_date('step.due_at') }} as due_date,
        {{ local_date('step.finished_at') }} as finished_date,
        source_status.status_code::smallint as status_code,
        step.origin,
        link.load_number
    from link
    inner join step
        on link.source_code = step.source_code and link.dossier_id = step.dossier_id
    inner join dossier
        on link.dossier_key = dossier.dossier_key
    left join source_status
        on
            {{ dialect_of_source('step.source_code') }} = source_status.dialect
            and step.source_status_code = source_status.source_status_code

)

select * from final
order by responsible_agency_code, started_date
