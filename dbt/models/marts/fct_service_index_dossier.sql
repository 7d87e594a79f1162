{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key='dossier_key',
        on_schema_change='fail',
        pre_hook='{{ delete_rows_of_relinked_records() }}',
        indexes=[
            {'columns': ['dossier_key'], 'unique': true},
            {'columns': ['source_code', 'dossier_id']},
            {'columns': ['responsible_agency_code', 'counted_month']},
            {'columns': ['counted_month', 'content_hash']},
            {'columns': ['open_limit_date']},
            {'columns': ['procedure_code', 'procedure_facts']},
            {'columns': ['load_number']},
        ]
    )
}}

-- Each of our dossiers, judged by the clauses of the note (macros judged_by_the_index, index_...).

-- The hook, and what follows below, read these only in incremental runs, which dbt does not see when it parses.
-- depends_on: {{ ref('int_dossiers__record') }}
with fact as (

    select * from {{ ref('fct_dossier') }}

),

-- What is known of a procedure, so that a change of the catalogue is seen.
{{ catalogue_for_the_index() }},

{% if is_incremental() %}

    to_judge as (

        select dossier_key
        from {{ ref('int_dossiers__record') }}
        where linked_in_load > {{ newest_load_in_this() }} and is_current
        union
        select judged.dossier_key
        from {{ this }} as judged
        where {{ is_of_a_procedure_judged_otherwise('judged.procedure_code') }}

    ),

{% endif %}

dossier as (

    select fact.*
    from fact
    {% if is_incremental() %}
        inner join to_judge on fact.dossier_key = to_judge.dossier_key
    {% endif %}

),

{{ judged_by_the_index() }},

final as (

    select
        dossier_key,
        source_code,
        dossier_id,
        dossier_code,
        first_source_code,
        department_code as responsible_agency_code,
        procedure_code,
        procedure_facts,
        counted_month,

        -- clauses
        dossier_sync,
        progress_on_time,
        online_dossier,
        online_dossier_by_note,
        online_service_used,
        payment_service_used,
        payment_dossier,
        original_result_available,
        papers_and_result_digitised,
        reused_digitised_data,
        synced_with_personal_storage,
        citizen_data_connected,
        case when progress_on_time like 'open:%' then {{ local_date('limit_at') }} end as open_limit_date,

        -- lineage
        origin,
        load_number
    from judged

)

select
    *,
    hashtextextended(
        concat_ws(
            '|', dossier_key, first_source_code, responsible_agency_code, procedure_code, counted_month, dossier_sync,
            progress_on_time, online_dossier, online_dossier_by_note, online_service_used, payment_service_used,
            payment_dossier, original_result_available, papers_and_result_digitised, reused_digitised_data,
            synced_with_personal_storage, citizen_data_connected, open_limit_date, origin
        ), 0
    ) as content_hash
from final
