{#-
  Models that are kept by month of receipt. A dossier stands in one month for good, so what a build changes is a few
  months: those whose dossiers are no longer what they were when the model was made (int_dossiers__month against
  int_dossiers__month_made). Late rows, rows that changed, and rows that left their source need nothing of their own.
-#}


{#-
  First days of the months that differ from what this model was made of, as a list. Asked for before the model runs: a
  plan that knows them finds a few months by an index, where it would read all of the table for those of a subquery.
-#}
{% macro changed_months(months) -%}
    {%- set query -%}
        select coalesce(month_now.received_month, month_made.received_month) as first_day
        from {{ ref(months) }} as month_now
        full join (
            select
                received_month,
                month_fingerprint
            from {{ ref('int_dossiers__month_made') }}
            where model_name = '{{ this.identifier }}'
        ) as month_made on month_now.received_month = month_made.received_month
        where month_now.month_fingerprint is distinct from month_made.month_fingerprint
        order by first_day
    {%- endset -%}
    {{ return(run_query(query).columns[0].values() | list if execute else []) }}
{%- endmacro %}


{#- The first of them; the end of time where nothing changed. -#}
{% macro first_changed_month(months='int_dossiers__month') -%}
    '{{ (changed_months(months) + ['infinity'])[0] }}'::date
{%- endmacro %}


{#- In the model's own transaction: what was made of a changed month goes, the whole of it. -#}
{% macro delete_changed_months(months, month_made) -%}
    {% if is_incremental() %}
        delete from {{ this }} where {{ is_of_a_changed_month(month_made, months) }}
    {% endif %}
{%- endmacro %}


{#-
  The same for what adds up all months before: a stock at the end of a period changes with any month until then. Rows of
  periods that end in or after the first changed month go; `period_end` is their last day.
-#}
{% macro delete_periods_since_the_first_change(period_end) -%}
    {% if is_incremental() %}
        delete from {{ this }} where {{ period_end }} >= {{ first_changed_month() }}
    {% endif %}
{%- endmacro %}


{#- In the model's own transaction: of which state of the months the model is made now. -#}
{% macro remember_months(months) -%}
    delete from {{ ref('int_dossiers__month_made') }} where model_name = '{{ this.identifier }}';
    insert into {{ ref('int_dossiers__month_made') }} (model_name, received_month, month_fingerprint)
    select
        '{{ this.identifier }}',
        received_month,
        month_fingerprint
    from {{ ref(months) }}
{%- endmacro %}


{#-
  A table that is new has no statistics, and what reads it next would be planned for a handful of rows. In a kept table
  a day's rows change nothing of that.
-#}
{% macro analyse_when_new() -%}
    {% if not is_incremental() %}analyze {{ this }}{% endif %}
{%- endmacro %}


{#-
  How a model is kept by months. Its rows name theirs in received_month, or `month_made` says how to read it from
  them; `key` is what is unique in it, if it has one. `months` is the model with the months' fingerprints.
-#}
{% macro kept_by_month(key=none, indexes=[], months='int_dossiers__month', month_made='received_month') -%}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        pre_hook='{{ delete_changed_months("' ~ months ~ '", "' ~ month_made ~ '") }}',
        post_hook=['{{ remember_months("' ~ months ~ '") }}', '{{ analyse_when_new() }}'],
        indexes=([{'columns': [key], 'unique': true}] if key else [])
        + ([{'columns': ['received_month']}] if month_made == 'received_month' else []) + indexes
    )
}}
{%- endmacro %}


{#-
  The same for stocks, which are kept up to the first changed month; `period_end` is a row's last day, `first` a statement
  for its transaction.
-#}
{% macro kept_until_the_first_change(key, period_end, indexes=[], first='') -%}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        pre_hook=['{{ delete_periods_since_the_first_change("' ~ period_end ~ '") }}', first],
        post_hook=['{{ remember_months("int_dossiers__month") }}', '{{ analyse_when_new() }}'],
        indexes=[{'columns': [key], 'unique': true}] + indexes
    )
}}
{%- endmacro %}


{#- Condition on rows of a month: all months when the model is made anew, else the changed ones. -#}
{% macro is_of_a_changed_month(first_day, months='int_dossiers__month') -%}
    {%- if not is_incremental() -%}
        true
    {%- else -%}
        {%- set changed = changed_months(months) -%}
        {%- if changed -%}
            {{ first_day }} in ({% for month in changed %}'{{ month }}'::date{{ ', ' if not loop.last }}{% endfor %})
        {%- else -%}
            false
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}


{#-
  The same of a day, as spans of days: PostgreSQL knows how many rows lie in those. `count` is how many months each of
  them is long, where they are quarters.
-#}
{% macro is_in_a_changed_month(day, months='int_dossiers__month', count=1) -%}
    {%- if not is_incremental() -%}
        true
    {%- else -%}
        {%- set spans = [] -%}
        {%- for first_day in changed_months(months) -%}
            {%- set month = first_day.year * 12 + first_day.month - 1 -%}
            {%- if spans and spans[-1][1] == month -%}
                {%- do spans.append([spans.pop()[0], month + count]) -%}
            {%- else -%}
                {%- do spans.append([month, month + count]) -%}
            {%- endif -%}
        {%- endfor -%}
        (
            {%- for span in spans %}
                {{ day }} >= make_date({{ span[0] // 12 }}, {{ span[0] % 12 + 1 }}, 1)
                and {{ day }} < make_date({{ span[1] // 12 }}, {{ span[1] % 12 + 1 }}, 1)
                {{ 'or' if not loop.last }}
            {%- else %}
                false
            {%- endfor %}
        )
    {%- endif -%}
{%- endmacro %}


{#- First day of the year of the last covered day, asked for before the model runs, as the months are. -#}
{% macro first_day_of_the_covered_year() -%}
    {%- set query -%}
        select date_trunc('year', as_of_date)::date as first_day
        from {{ ref('int_loads__as_of') }}
        where as_of_date is not null
    {%- endset -%}
    '{{ ((run_query(query).columns[0].values() | list if execute else []) + ['infinity'])[0] }}'::date
{%- endmacro %}


{#- First day of a day's month. -#}
{% macro month_of(day) -%}
    date_trunc('month', {{ day }})::date
{%- endmacro %}


{#- First day of a quarter written as 2025-Q3. -#}
{% macro first_day_of_quarter(year_quarter) -%}
    make_date(left({{ year_quarter }}, 4)::integer, right({{ year_quarter }}, 1)::integer * 3 - 2, 1)
{%- endmacro %}


{#- First day of a month written as 2025-07. -#}
{% macro first_day_of_month(year_month) -%}
    to_date({{ year_month }}, 'YYYY-MM')
{%- endmacro %}
