{#-
  Newest load number that an incremental model already holds.
  Loads must become visible in the order of their numbers, or a late one would never be seen.
-#}
{% macro newest_load_in(relation, column='load_number') -%}
    (select coalesce(max({{ column }}), 0) from {{ relation }})
{%- endmacro %}


{#-
  Rows of records that were linked anew since this model was built, to be deleted before the new ones are inserted.
  delete+insert alone would leave rows whose key has changed or that have gone (a step that vanished,
  a dossier that another system's record turned out to continue). Runs in the model's own transaction.
-#}
{% macro delete_rows_of_relinked_records() -%}
    {% if is_incremental() %}
        delete from {{ this }}
        where (source_code, dossier_id) in (
            select source_code, dossier_id from {{ ref('int_dossiers__record') }}
            where linked_in_load > {{ newest_load_in(this) }}
        )
    {% endif %}
{%- endmacro %}


{#-
  A column that an incremental model has since this version, added to a table of an earlier one: the model reads it
  before dbt would add it. Every other run finds it there and locks nothing.
-#}
{% macro add_column_of_this_version(name, data_type) -%}
    {% if is_incremental() and name not in adapter.get_columns_in_relation(this) | map(attribute='name') %}
        alter table {{ this }} add column {{ name }} {{ data_type }}
    {% endif %}
{%- endmacro %}


{#- Fingerprint of the decisions on handovers and of the successors they lead to. -#}
{% macro fingerprint_of_decisions() -%}
    (
        select md5(string_agg(known.line, chr(10) order by known.line))
        from (
            select concat_ws('|', from_agency_code, to_agency_code, effective_date, decision_no) as line
            from {{ ref('int_agencies__succession') }}
            union all
            select concat_ws('|', scope, from_agency, to_agency, effective_date, decision_no) as line
            from {{ ref('handover_decision') }}
        ) as known
    )
{%- endmacro %}


{#- All handovers, where they were made by other decisions than are known now. -#}
{% macro delete_handovers_of_other_decisions() -%}
    {% if is_incremental() %}
        delete from {{ this }}
        where
            exists (
                select 1 from {{ this }} as made
                where made.decisions_fingerprint is distinct from {{ fingerprint_of_decisions() }}
            )
    {% endif %}
{%- endmacro %}


{#-
  An index that a model has since this version, for a table of an earlier one: dbt makes those of `indexes` with a new
  table only. Every other run finds it there and locks nothing.
-#}
{% macro index_of_this_version(columns) -%}
    {% if execute and is_incremental() %}
        {% set held = run_query(
            "select 1 from pg_indexes where schemaname = '" ~ this.schema ~ "' and tablename = '" ~ this.identifier
            ~ "' and indexdef like '%(" ~ columns | join(', ') ~ ")'"
        ) %}
        {% if held.rows | length == 0 %}
            create index on {{ this }} ({{ columns | join(', ') }})
        {% endif %}
    {% endif %}
{%- endmacro %}


{#- What is recorded of a dossier names its agency since this version; a table of an earlier one gets it once. -#}
{% macro add_agency_of_the_dossier() -%}
    {% if is_incremental() and 'responsible_agency_code' not in adapter.get_columns_in_relation(this) | map(attribute='name') %}
        alter table {{ this }} add column responsible_agency_code text;
        update {{ this }} as detail set responsible_agency_code = dossier.responsible_agency_code
        from {{ ref('fct_dossier') }} as dossier
        where detail.dossier_key = dossier.dossier_key
    {% endif %}
{%- endmacro %}


{#- Relations of earlier versions that no model makes any more. -#}
{% macro drop_relations_of_earlier_versions() -%}
    {% if execute and flags.WHICH in ('run', 'build') %}
        {% for name in ['int_service_index__judged'] %}
            {% set left_over = adapter.get_relation(target.database, 'intermediate', name) %}
            {% if left_over is not none %}
                {% do adapter.drop_relation(left_over) %}
            {% endif %}
        {% endfor %}
    {% endif %}
{%- endmacro %}
