{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key='paper_key',
        on_schema_change='fail',
        pre_hook='{{ delete_rows_of_relinked_records() }}',
        indexes=[
            {'columns': ['paper_key'], 'unique': true},
            {'columns': ['dossier_key']},
            {'columns': ['source_code', 'dossier_id']},
            {'columns': ['load_number']},
        ]
    )
}}

with paper as (

    select * from {{ ref('stg_dossiers__paper') }}

),

link as (

    select * from {{ ref('int_dossiers__record') }}
    where
        not is_removed
        {% if is_incremental() %}and linked_in_load > {{ newest_load_in(this) }}{% endif %}

),

final as (

    select
        md5(paper.source_code || '|' || paper.dossier_id || '|' || paper.paper_no) as paper_key,
        link.dossier_key,
        paper.source_code,
        paper.dossier_id,
        link.is_current as is_current_record,
        paper.paper_no,
        paper.paper_code,
        paper.paper_name,
        paper.is_result,
        paper.is_digitised,
        paper.is_reused,
        paper.is_from_personal_storage,
        paper.origin,
        link.load_number
    from link
    inner join paper
        on link.source_code = paper.source_code and link.dossier_id = paper.dossier_id

)

select * from final
