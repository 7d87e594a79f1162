{#-
  Joins: who took a dossier over last (taken_over), and the step of its current record that is not finished (current_step).
  A step begun before a handover was the old body's. docs/cookbook.md asks with these very words, which a test compares.
-#}
{% macro join_officer_unit_of_now(dossier) -%}
    left join lateral (
        select
            handover.handover_date,
            coalesce(handover.to_agency_code, '{{ var("unknown_code") }}') as agency_code
        from {{ ref('fct_handover') }} as handover
        where handover.dossier_key = {{ dossier }}.dossier_key
        order by handover.handover_no desc
        limit 1
    ) as taken_over on true
    left join lateral (
        select step.agency_code
        from {{ ref('fct_dossier_step') }} as step
        where
            step.dossier_key = {{ dossier }}.dossier_key and step.is_current_record and step.finished_at is null
            and (taken_over.handover_date is null or step.started_date >= taken_over.handover_date)
        order by step.started_at desc nulls last, step.step_no desc
        limit 1
    ) as current_step on true
{%- endmacro %}


{#- Who is responsible now: whoever took it over last, else whom the record names. Needs the joins above. -#}
{% macro responsible_agency_of_now(dossier) -%}
    coalesce(taken_over.agency_code, {{ dossier }}.responsible_agency_code)
{%- endmacro %}


{#- Where the dossier lies now; where the source recorded no step since, who is responsible. Needs the joins above. -#}
{% macro officer_unit_of_now(dossier) -%}
    coalesce(current_step.agency_code, taken_over.agency_code, {{ dossier }}.responsible_agency_code)
{%- endmacro %}
