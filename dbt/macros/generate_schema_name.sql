{#- The folders name the schemas exactly (staging, marts, ...), without dbt's usual prefix. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name | trim if custom_schema_name else target.schema }}
{%- endmacro %}
