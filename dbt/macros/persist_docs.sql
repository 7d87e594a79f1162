{#-
  Comments in PostgreSQL, so that psql, DBeaver and Superset show what a table and a column mean: Vietnamese, then
  English. dbt's own version writes the English alone.
-#}
{% macro postgres__persist_docs(relation, model, for_relation, for_columns) -%}
    {% if config.persist_relation_docs() and config.persist_column_docs() %}
        {% set comments %}
            comment on {{ relation.type }} {{ relation }} is {{ postgres_escape_comment(in_both_languages(model)) }};
            {% for column in model.columns.values() %}
                comment on column {{ relation }}.{{ column.name }}
                is {{ postgres_escape_comment(in_both_languages(column)) }};
            {% endfor %}
        {% endset %}
        {% do run_query(comments) %}
    {% endif %}
{%- endmacro %}


{#- What a model or a column is, "tiếng Việt · English". -#}
{% macro in_both_languages(described) -%}
    {{ described.config.meta.vi }} · {{ described.description }}
{%- endmacro %}


{#- The same for a function; dbt writes no comment on it at all. -#}
{% macro postgres__scalar_function_sql(target_relation) -%}
    {{ default__scalar_function_sql(target_relation) }}
    comment on function {{ target_relation.render() }}({{ model.arguments | map(attribute='data_type') | join(', ') }})
    is {{ postgres_escape_comment(in_both_languages(model)) }};
{%- endmacro %}
