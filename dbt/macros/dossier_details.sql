{#-
  How a fact of several rows for each dossier is kept: built for what changed, one row for each `key`, given anew where a
  record came to another dossier, and indexed for those who read an agency's rows alone.
-#}
{% macro kept_by_dossier(key, indexes=[]) -%}
{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=key,
        on_schema_change='fail',
        pre_hook='{{ delete_rows_of_relinked_records() }}',
        indexes=[
            {'columns': [key], 'unique': true},
            {'columns': ['dossier_key']},
            {'columns': ['source_code', 'dossier_id']},
            {'columns': ['responsible_agency_code']},
            {'columns': ['load_number']},
        ] + indexes
    )
}}
{%- endmacro %}

{#-
  What a system recorded for a dossier beside the dossier itself: a step, a paper, a fee (`kind`), one row each, with the
  dossier it belongs to and that dossier's agency, by which rights on rows are given (ops/roles.yml).
  The caller gives the kind's own columns, of `recorded`; `joins` is what those need more.
-#}
{% macro recorded_for_dossiers(kind, joins='', indexes=[]) -%}
{{ kept_by_dossier(kind ~ '_key', indexes) -}}

with recorded as (

    select * from {{ ref('stg_dossiers__' ~ kind) }}

),

link as (

    select * from {{ ref('int_dossiers__record') }}
    where
        not is_removed
        {% if is_incremental() %}and linked_in_load > {{ newest_load_in_this() }}{% endif %}

),

dossier as (

    select
        dossier_key,
        responsible_agency_code,
        received_date
    from {{ ref('fct_dossier') }}

)

select
    md5(recorded.source_code || '|' || recorded.dossier_id || '|' || recorded.{{ kind }}_no) as {{ kind }}_key,
    link.dossier_key,
    recorded.source_code,
    recorded.dossier_id,
    link.is_current as is_current_record,
    recorded.{{ kind }}_no,
    dossier.responsible_agency_code,
    {{ caller() }},
    recorded.origin,
    link.load_number
from link
inner join recorded
    on link.source_code = recorded.source_code and link.dossier_id = recorded.dossier_id
inner join dossier
    on link.dossier_key = dossier.dossier_key
{{ joins }}
-- An agency's rows lie together, so that it reads few pages of a large table.
order by dossier.responsible_agency_code, dossier.received_date
{%- endmacro %}
