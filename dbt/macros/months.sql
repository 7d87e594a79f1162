{#-
  Models that are kept by month of receipt. A dossier stands in one month for good, so what a build changes is a few
  months: those whose dossiers are no longer what they were when the model was made (int_dossiers__month against
  int_dossiers__month_made). Late rows, rows that changed, and rows that left their source need nothing of their own.
-#}


{#- Months of receipt that differ from what this model was made of; as rows of one column, received_month. -#}
{% macro changed_months(months) -%}
    (
        select coalesce(month_now.received_month, month_made.received_month) as received_month
        from {{ ref(months) }} as month_now
        full join (
            select
                received_month,
                month_fingerprint
            from {{ ref('int_dossiers__month_made') }}
            where model_name = '{{ this.identifier }}'
        ) as month_made on month_now.received_month = month_made.received_month
        where month_now.month_fingerprint is distinct from month_made.month_fingerprint
    )
{%- endmacro %}


{#- In the model's own transaction: what was made of a changed month goes, the whole of it. -#}
{% macro delete_changed_months(months, month_made) -%}
    {% if is_incremental() %}
        delete from {{ this }} where {{ month_made }} in {{ changed_months(months) }}
    {% endif %}
{%- endmacro %}


{#-
  The same for what adds up all months before: a stock at the end of a period changes with any month until then. Rows of
  periods that end in or after the first changed month go; `period_end` is their last day.
-#}
{% macro delete_periods_since_the_first_change(period_end) -%}
    {% if is_incremental() %}
        delete from {{ this }}
        where
            {{ period_end }}
            >= (select min(changed.received_month) from {{ changed_months('int_dossiers__month') }} as changed)
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


{#- The same for stocks, which are kept up to the first changed month; `period_end` is a row's last day. -#}
{% macro kept_until_the_first_change(key, period_end, indexes=[]) -%}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        pre_hook='{{ delete_periods_since_the_first_change("' ~ period_end ~ '") }}',
        post_hook=['{{ remember_months("int_dossiers__month") }}', '{{ analyse_when_new() }}'],
        indexes=[{'columns': [key], 'unique': true}] + indexes
    )
}}
{%- endmacro %}


{#- Condition on rows of a month: all months when the model is made anew, else the changed ones. -#}
{% macro is_of_a_changed_month(received_month, months='int_dossiers__month') -%}
    {% if is_incremental() %}{{ received_month }} in {{ changed_months(months) }}{% else %}true{% endif %}
{%- endmacro %}


{#- First day of a day's month. -#}
{% macro month_of(day) -%}
    date_trunc('month', {{ day }})::date
{%- endmacro %}
