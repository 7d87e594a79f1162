{#-
  dbt's own version calls a macro for every cell, which takes 17 s for the 130,000 cells of the unit lists.
  Here the placeholders of a row are written once and repeated.
-#}
{% macro postgres__load_csv_rows(model, agate_table) %}
    {% set column_names = get_seed_column_quoted_csv(model, agate_table.column_names) %}
    {% set one_row = '(' ~ (['%s'] * (agate_table.column_names | length)) | join(', ') ~ ')' %}
    {% set statements = [] %}
    {% for chunk in agate_table.rows | batch(get_batch_size()) %}
        {% set bindings = [] %}
        {% for row in chunk %}
            {% do bindings.extend(row) %}
        {% endfor %}
        {% set sql %}
            insert into {{ this.render() }} ({{ column_names }}) values {{ ([one_row] * (chunk | length)) | join(', ') }}
        {% endset %}
        {% do adapter.add_query(sql, bindings=bindings, abridge_sql_log=True) %}
        {% do statements.append(sql) %}
    {% endfor %}
    {{ return(statements[0] if statements else '') }}
{% endmacro %}
