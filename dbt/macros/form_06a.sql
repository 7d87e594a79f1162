{#-
  Form II.06a (biểu số II.06a/VPCP/KSTT) counts by calendar date. Source of the rules: counting of a production system
  (sets of statuses and comparisons by day), read with the form's printed columns.
-#}


{#-
  Whether the form counts a dossier at all: not registered only or refused (1, 3), and not one that ended on a day no
  source gives, which no period could count. Both stay countable: report_group in fct_dossier, fct_dossier_wrong_data.
-#}
{% macro is_counted_in_form_06a(report_group, completed_date) -%}
    (
        {{ report_group }} <> 'not_received'
        and ({{ completed_date }} is not null or not {{ is_resolved_in_form_06a(report_group) }})
    )
{%- endmacro %}


{#- Day a dossier ended, null while open. One that "ended" before its receipt counts on the day of receipt. -#}
{% macro end_date_in_form_06a(is_resolved, completed_date, received_date) -%}
    case when {{ is_resolved }} then greatest({{ completed_date }}, {{ received_date }}) end
{%- endmacro %}


{#- Received before a day and not ended before it: what a decision of that day hands over. -#}
{% macro is_open_at_the_beginning_of(day, received_date, end_date) -%}
    ({{ received_date }} < {{ day }} and ({{ end_date }} is null or {{ end_date }} >= {{ day }}))
{%- endmacro %}


{#- Received by the end of a day and not ended by it. A dossier finished after a period's end is open in the period. -#}
{% macro is_open_at_the_end_of(day, since_date, end_date) -%}
    ({{ since_date }} <= {{ day }} and ({{ end_date }} is null or {{ end_date }} > {{ day }}))
{%- endmacro %}


{#- Resolved: early before the due day; on time on it, without one, or withdrawn (trả lại, xin rút); late after it. -#}
{% macro outcome_in_form_06a(report_group, completed_date, due_date) -%}
    case
        when {{ report_group }} = 'withdrawn' or {{ due_date }} is null then 'on_time'
        when {{ completed_date }} < {{ due_date }} then 'early'
        when not {{ is_past_due(due_date, completed_date) }} then 'on_time'
        else 'overdue'
    end
{%- endmacro %}


{#- Đang giải quyết, trong hạn "bao gồm hồ sơ chờ bổ sung": status 5 counts as in time, however late. -#}
{% macro is_waiting_for_papers(status_code) -%}
    ({{ status_code }} = 5)
{%- endmacro %}


{#-
  Periods of administrative reports close on the 14th (quarter 15/12 to 14/3, year 15/12 to 14/12), others with the
  calendar; the index QĐ 766 is by calendar alone. A period is named by the calendar period in which it ends: 15/12/2024
  belongs to January, the first quarter and the year 2025. Below: first day of the calendar period that names it.
-#}
{% macro nominal_period_start(day, period_kind, closing) -%}
    date_trunc(
        {{ period_kind }},
        case
            when {{ closing }} = 'administrative' then date_trunc('month', {{ day }} - 14) + interval '1 month'
            else {{ day }}::timestamp
        end
    )::date
{%- endmacro %}


{#- First day of a period named by the calendar period that begins on nominal_start. -#}
{% macro period_first_day(nominal_start, closing) -%}
    case
        when {{ closing }} = 'administrative' then ({{ nominal_start }} - interval '1 month')::date + 14
        else {{ nominal_start }}
    end
{%- endmacro %}


{#- Its last day. -#}
{% macro period_last_day(nominal_start, period_kind, closing) -%}
    case
        when {{ closing }} = 'administrative'
            then ({{ nominal_start }} + ({{ months_in(period_kind) }} - 1) * interval '1 month')::date + 13
        else ({{ nominal_start }} + {{ months_in(period_kind) }} * interval '1 month')::date - 1
    end
{%- endmacro %}


{#- The 1st or the 15th: no period, whichever its closing, begins on another day of a month. -#}
{% macro first_day_of_half_month(day) -%}
    (date_trunc('month', {{ day }})::date + case when extract(day from {{ day }}) < 15 then 0 else 14 end)
{%- endmacro %}


{#- Months of a period: 1, 3, 12. -#}
{% macro months_in(period_kind) -%}
    case {{ period_kind }} when 'month' then 1 when 'quarter' then 3 else 12 end
{%- endmacro %}


{#- Name of a period: 2025-06, 2025-Q2, 2025. -#}
{% macro period_label(nominal_start, period_kind) -%}
    case {{ period_kind }}
        when 'month' then to_char({{ nominal_start }}, 'YYYY-MM')
        when 'quarter' then to_char({{ nominal_start }}, 'YYYY-"Q"Q')
        else to_char({{ nominal_start }}, 'YYYY')
    end
{%- endmacro %}


{#- Last days of the periods before those that are made anew: at most six, by which a plan finds their rows. -#}
{% macro last_days_of_kept_periods() -%}
    {%- set query -%}
        select distinct min(period_start) - 1 as last_day
        from {{ ref('int_form_06a__period_day') }}
        where period_end >= {{ first_changed_month() }}
        group by period_kind, closing
    {%- endset -%}
    {%- set days = (run_query(query).columns[0].values() | list if execute else []) or ['infinity'] -%}
    {% for day in days %}'{{ day }}'::date{{ ', ' if not loop.last }}{% endfor %}
{%- endmacro %}


{#- First day of the periods that are made anew and the last one they are judged on, known to the plan, too. -#}
{% macro first_and_last_day_to_make() -%}
    {%- set query -%}
        select
            min(period_start) as first_day,
            max(judged_date) as last_day
        from {{ ref('int_form_06a__period_day') }}
        where period_end >= {{ first_changed_month() }}
    {%- endset -%}
    {%- set days = run_query(query).rows[0].values() if execute else [none, none] -%}
    '{{ days[0] or 'infinity' }}'::date and '{{ days[1] or '-infinity' }}'::date
{%- endmacro %}
