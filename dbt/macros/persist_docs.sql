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


{#- What a model or a column is, "tiếng Việt · English", each with the meaning of its codes. -#}
{% macro in_both_languages(described) -%}
    {%- set codes = codes_of(described.config.meta) -%}
    {{ described.config.meta.vi }}{% for code in codes %}{{ ' ' if loop.first else '; ' }}{{ code.code }}: {{ code.vi }}{{ '.' if loop.last }}{% endfor %} · {{ described.description }}
    {%- for code in codes %}{{ ' ' if loop.first else '; ' }}{{ code.code }}: {{ code.en }}{{ '.' if loop.last }}{% endfor %}
{%- endmacro %}


{#-
  Codes of a column with their meaning, which stands once: in its own `codes`, or where `codes_of` says: in a seed (its
  first column, and what ends in _vi and _en), or at another model's column (model.column). Readers cannot ask seeds.
-#}
{% macro codes_of(meta) -%}
    {%- set found, of = [], meta.codes_of or '' -%}
    {%- set codes = meta.codes or {} -%}
    {%- if execute and '.' in of -%}
        {%- set codes = graph.nodes['model.' ~ project_name ~ '.' ~ of.split('.')[0]].columns[of.split('.')[1]].config.meta.codes -%}
    {%- elif execute and of -%}
        {%- set seed, at = run_query('select * from seeds.' ~ of), {} -%}
        {%- for name in seed.column_names -%}{%- do at.setdefault(name[-3:], loop.index0) -%}{%- endfor -%}
        {%- for row in seed.rows -%}
            {%- do found.append({'code': row[0], 'vi': row[at['_vi']], 'en': row[at['_en']]}) -%}
        {%- endfor -%}
    {%- endif -%}
    {%- for code, said in codes.items() -%}{%- do found.append({'code': code, 'vi': said.vi, 'en': said.en}) -%}{%- endfor -%}
    {%- do return(found) -%}
{%- endmacro %}


{#- The same for a function; dbt writes no comment on it at all. -#}
{% macro postgres__scalar_function_sql(target_relation) -%}
    {{ default__scalar_function_sql(target_relation) }}
    comment on function {{ target_relation.render() }}({{ model.arguments | map(attribute='data_type') | join(', ') }})
    is {{ postgres_escape_comment(in_both_languages(model)) }};
{%- endmacro %}
