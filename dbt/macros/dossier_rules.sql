{#-
  First day on which a dossier is past its due day: by calendar date, not by hour. Whatever calls a dossier late in facts,
  form II.06a, operations centre and lists comes from here. Null without a due day.
  Source: counting rules of form II.06a, section 3.4 (trước hạn <, đúng hạn = or no due day, quá hạn >).
-#}
{% macro first_day_past_due(due_date) -%}
    ({{ due_date }} + 1)
{%- endmacro %}


{#- Whether a day comes after the due day; null where either is not known. -#}
{% macro is_past_due(due_date, day) -%}
    ({{ day }} >= {{ first_day_past_due(due_date) }})
{%- endmacro %}


{#-
  Whether a dossier that is open at the end of a day is overdue then; waiting for the applicant's papers counts as in
  time, and so does whatever has no due day.
-#}
{% macro is_overdue_while_open(is_waiting, due_date, day) -%}
    coalesce({{ is_past_due(due_date, day) }} and not {{ is_waiting }}, false)
{%- endmacro %}


{#-
  Overdue as form II.06a counts it.
  Finished: late when the day it ended comes after the due day; no due day means on time; withdrawn means on time.
  Still open: late when the as-of day comes after the due day, unless it waits for papers. Not received: never late.
  Null: finished, but the source does not say when.
-#}
{% macro is_overdue_by_calendar_date(report_group, status_code, completed_date, due_date, as_of_date) -%}
    case
        when {{ report_group }} in ('withdrawn', 'not_received') or {{ due_date }} is null then false
        when {{ report_group }} = 'resolved' then {{ is_past_due(due_date, completed_date) }}
        else {{ is_overdue_while_open("coalesce(" ~ is_waiting_for_papers(status_code) ~ ", false)", due_date, as_of_date) }}
    end
{%- endmacro %}


{#- Resolved as form II.06a counts it: processed or returned (9, 10), or withdrawn by the applicant (7). -#}
{% macro is_resolved_in_form_06a(report_group) -%}
    {{ report_group }} in ('resolved', 'withdrawn')
{%- endmacro %}


{#- Submitted online: KenhThucHien 2; 1 is in person, 3 by post. -#}
{% macro is_online_channel(channel) -%}
    ({{ channel }} = 2)
{%- endmacro %}


{#-
  National procedure code: provinces append their own agency code (2.002622.H56, 1.003560.000.00.00.H56).
  A code of any other form is kept as it is, so that it can be found among the unknown ones.
-#}
{% macro national_procedure_code(procedure_code) -%}
    regexp_replace(btrim({{ procedure_code }}), '(\.000\.[0-9]{2}\.[0-9]{2})?\.[A-Z][0-9]{2}(\.[0-9]+)*$', '')
{%- endmacro %}


{#- Dialect of a source: source codes begin with it (igate_tien_giang speaks igate). -#}
{% macro dialect_of_source(source_code) -%}
    split_part({{ source_code }}, '_', 1)
{%- endmacro %}


{#- Key of a dossier, made from the first system's record of it. -#}
{% macro dossier_key_of(source_code, dossier_id) -%}
    md5({{ source_code }} || '|' || {{ dossier_id }})
{%- endmacro %}
