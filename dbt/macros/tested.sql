{#-
  Which rows a test looks at. What a build leaves alone was tested when it was written: a test that reads a large table
  whole would take longer with each year. So tests look at what loads changed since all tests last passed in one build;
  after a full refresh, and where nothing ever passed, at everything.
-#}


{#- Newest load that was there when all tests last passed; 0 where none ever did. -#}
{% macro load_tested() -%}
    {%- set mark = adapter.get_relation(target.database, 'intermediate', 'int_loads__tested') if execute else none -%}
    {%- if mark is none or flags.FULL_REFRESH -%}
        0
    {%- else -%}
        {{ run_query('select coalesce(max(load_number), 0) from ' ~ mark).rows[0][0] }}
    {%- endif -%}
{%- endmacro %}


{#- Condition: what a load wrote since then. It is a number, from which PostgreSQL knows how few rows that is. -#}
{% macro is_written_since_tested(load_number) -%}
    {{ load_number }} > {{ load_tested() }}
{%- endmacro %}


{#- Dossiers of the sources, by source_code and dossier_id, of which anything was changed or taken back since then. -#}
{% macro records_changed_since_tested() -%}
    (
        select distinct
            source_code,
            dossier_id
        from {{ ref('stg_dossiers__change') }}
        where {{ is_written_since_tested('load_number') }}
    )
{%- endmacro %}


{% macro delete_waiting_steps_of_changed_records() -%}
    {% if is_incremental() %}
        delete from {{ this }}
        where (source_code, dossier_id) in (select source_code, dossier_id from {{ records_changed_since_tested() }} as changed)
    {% endif %}
{%- endmacro %}


{#-
  First day of the first month of which a dossier was changed since then; what lies before it was tested. The day is asked
  for before the test runs, for a plan that knows how little lies after it; who asks depends on the facts, which are made by then.
-#}
{% macro first_day_not_tested() -%}
    {%- set load = load_tested() | int -%}
    {%- if load == 0 -%}
        '0001-01-01'::date
    {%- else -%}
        {%- set dossier = adapter.get_relation(target.database, 'marts', 'fct_dossier') -%}
        {%- set last_day = adapter.get_relation(target.database, 'marts', 'as_of_day') -%}
        {%- set record = adapter.get_relation(target.database, 'staging', 'stg_dossiers__dossier') -%}
        {%- set deletion = adapter.get_relation(target.database, 'staging', 'stg_dossiers__deletion') -%}
        {%- set query -%}
            select
                date_trunc(
                    'month',
                    least(
                        min(changed.received_date), min(changed.completed_date), max(last_day.as_of_date),
                        -- What its source deleted, or lists again, is no fact of that load.
                        (
                            select min({{ local_date('record.received_at') }})
                            from {{ deletion }} as deletion
                            inner join {{ record }} as record
                                on deletion.source_code = record.source_code
                                and deletion.dossier_id = record.dossier_id
                            where deletion.load_number > {{ load }}
                        )
                    )
                )::date
            from {{ last_day }} as last_day
            left join {{ dossier }} as changed on changed.load_number > {{ load }}
        {%- endset -%}
        '{{ (run_query(query).rows[0][0] if execute) or '0001-01-01' }}'::date
    {%- endif -%}
{%- endmacro %}


{#-
  Tests of columns: of tables that say which load wrote a row (`tested_by_load`), the rows written since then; of those
  that add up days (`tested_by_day`), what lies in or after the first month that changed.
-#}
{% macro postgres__get_where_subquery(relation) -%}
    {%- set conditions = [] -%}
    {%- if config.get('where') -%}
        {%- do conditions.append(config.get('where')) -%}
    {%- endif -%}
    {%- if relation.identifier in var('tested_by_load') -%}
        {%- do conditions.append(is_written_since_tested(var('tested_by_load')[relation.identifier])) -%}
    {%- endif -%}
    {%- if relation.identifier in var('tested_by_day') -%}
        {%- do conditions.append(var('tested_by_day')[relation.identifier] ~ ' >= ' ~ first_day_not_tested()) -%}
    {%- endif -%}
    {%- if not conditions -%}
        {%- do return(relation) -%}
    {%- endif -%}
    {%- do return('(select * from ' ~ relation ~ ' where ' ~ conditions | join(' and ') ~ ') as dbt_subquery') -%}
{%- endmacro %}


{#-
  At the end of a build: the newest load, where each test of the project ran and none failed. A build of a part, or with a
  failure, leaves the mark where it was, so the next one tests all that this one should have.
-#}
{% macro remember_what_was_tested(results) -%}
    {%- if execute and flags.WHICH == 'build' -%}
        {%- set passed = [] -%}
        {%- for result in results if result.node.resource_type == 'test' and result.status in ('pass', 'warn') -%}
            {%- do passed.append(result.node.unique_id) -%}
        {%- endfor -%}
        {%- set known = graph.nodes.values() | selectattr('resource_type', 'equalto', 'test') | list -%}
        {%- if passed | length == known | length -%}
            insert into {{ adapter.get_relation(target.database, 'intermediate', 'int_loads__tested') }}
            select
                max(load_number),
                now()
            from {{ adapter.get_relation(target.database, 'raw', 'dossier_change') }}
            having max(load_number) is not null
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}


{#-
  After a load of many rows (a month read back): PostgreSQL knows nothing of the newest load yet, takes its rows for one
  or none, and joins them row by row, for hours. A day's load is too small for that, and reading the sample takes longer.
-#}
{% macro analyse_where_much_is_new() -%}
    {%- if execute and model.config.materialized == 'incremental' and this.identifier in var('tested_by_load') -%}
        {%- set condition = is_written_since_tested(var('tested_by_load')[this.identifier]) -%}
        {%- set new_rows = run_query(
            'select count(*) from (select from ' ~ this ~ ' where ' ~ condition ~ ' limit ' ~ var('many_rows') ~ ') as new_row'
        ).rows[0][0] -%}
        {%- if new_rows == var('many_rows') -%}
            analyze {{ this }}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}
