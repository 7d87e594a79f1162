{#-
  What a dossier's data may not say: one named rule each, listed for the agency to repair (seed wrong_data_rule). No row
  is dropped or changed for it. Rules are about the warehouse's own columns; their only source is arithmetic.
-#}
{% macro ended_before_receipt(completed_date, received_date) -%}
    ({{ completed_date }} < {{ received_date }})
{%- endmacro %}


{% macro due_before_receipt(due_date, received_date) -%}
    ({{ due_date }} < {{ received_date }})
{%- endmacro %}


{% macro returned_before_end(returned_at, completed_at) -%}
    ({{ returned_at }} < {{ completed_at }})
{%- endmacro %}


{% macro ended_without_day(is_resolved, completed_date) -%}
    ({{ is_resolved }} and {{ completed_date }} is null)
{%- endmacro %}


{#- Some procedures have no limit; that an open dossier has no appointment is worth a look all the same. -#}
{% macro open_without_due_day(report_group, due_date) -%}
    ({{ report_group }} in ('open', 'paused') and {{ due_date }} is null)
{%- endmacro %}


{#- Seen in payment messages: times by a clock of twelve hours. 14:05 becomes 02:05, before anything was handed in. -#}
{% macro paid_before_submission(paid_at, submitted_at) -%}
    ({{ paid_at }} < {{ submitted_at }})
{%- endmacro %}


{#- Days before the due day on which a morning list and the operations centre begin to warn; calendar days. -#}
{% macro is_due_soon(due_date, as_of_date) -%}
    ({{ due_date }} between {{ as_of_date }} and {{ as_of_date }} + {{ var('due_soon_days') }})
{%- endmacro %}
