{#-
  Why the national portal's copy of a dossier is not ours: the class of a difference (docs/national.md), and for contents
  that differ the kind of the field.
-#}
{% macro cause_of_difference(difference_class, field_name) -%}
    case
        when {{ difference_class }} <> 'content_differs' then {{ difference_class }}
        when {{ field_name }} in ('MaTTHC', 'DonViXuLy') then 'code_differs'
        when {{ field_name }} = 'TrangThaiHoSo' then 'status_differs'
        when {{ field_name }} like 'Ngay%' then 'dates_differ'
        else 'content_differs'
    end
{%- endmacro %}


{#- The column of ours that a field of the portal stands in (COMPARED in national/reconcile.py). -#}
{% macro column_of_field(field_name) -%}
    case {{ field_name }}
        when 'KenhThucHien' then 'channel'
        when 'TrangThaiHoSo' then 'status_code'
        when 'MaTTHC' then 'procedure_code'
        when 'DonViXuLy' then 'responsible_agency_code'
        when 'NgayTiepNhan' then 'received_at'
        when 'NgayHenTra' then 'due_at'
        when 'NgayKetThucXuLy' then 'completed_at'
        when 'NgayTra' then 'returned_at'
        when 'DuocThanhToanTrucTuyen' then 'online_payment_code'
        when 'TaiKhoanDuocXacThucVoiVNeID' then 'is_vneid_account'
    end
{%- endmacro %}


{#- The order in which causes are taken one after another from our figures to the portal's. -#}
{% macro order_of_cause(cause) -%}
    array_position(
        array[
            'missing_there', 'late', 'code_differs', 'status_differs', 'dates_differ', 'content_differs', 'missing_here',
            'duplicated_there', 'not_explained', 'rule_or_rounding'
        ],
        {{ cause }}
    )
{%- endmacro %}


{#- A column of a version of a dossier: what it has changed, else ours. -#}
{% macro in_version(column_name, data_type) -%}
    case
        when version.changes ? '{{ column_name }}' then (version.changes ->> '{{ column_name }}')::{{ data_type }}
        else fact.{{ column_name }}
    end as {{ column_name }}
{%- endmacro %}


{#- What stands there beside ours is not received twice: 1.4 divides by what was. -#}
{% macro sum_of_outcomes(sign, what) -%}
    coalesce(
        sum({{ sign }}) filter (
            {% if what == 'met' -%} where outcome = 'met'
            {%- else -%} where outcome in ('met', 'missed') and not is_only_above
            {%- endif %}
        ), 0
    )::integer
{%- endmacro %}


{#-
  Why no difference of a dossier gives a prediction of an indicator; null where one does. Of how many services (3.2) and
  procedures (3.5) the portal counts, it alone knows; what 3.4 counts it has not told; 5.4 takes ratings and petitions
  beside what is late.
-#}
{% macro not_predicted_because(indicator_code, published_denominator) -%}
    case
        when {{ is_of_procedures(indicator_code) }} and {{ published_denominator }} is null then 'total_not_published'
        when {{ indicator_code }} in ('PAYMENT_PROVISION', 'CITIZEN_DATA_CONNECTED_FORMALITY') then 'rule_not_published'
        when {{ indicator_code }} = 'DOSSIER_RECEIVING_SATISFACTION' then 'needs_ratings_and_petitions'
        when
            {{ indicator_code }} in (
                'PUBLISH_ON_TIME', 'PUBLIC_UPDATE_ON_TIME', 'PUBLIC_CONTENT_FULL', 'ONLINE_PROVISION',
                'ELECTRONIC_CERTIFIED_COPY', 'PETITION_PROCESSING_ON_TIME', 'PETITION_HANDLING_SATISFACTION'
            )
            then 'not_of_dossiers'
    end
{%- endmacro %}


{#- Indicators that count procedures by their dossiers: outcomes_of_the_index has them so. -#}
{% macro is_of_procedures(indicator_code) -%}
    {{ indicator_code }} in ('ONLINE_SERVICE_USED', 'PAYMENT_SERVICE_USED')
{%- endmacro %}


{#- Rows of fct_service_index_cause_dossier, once for the agency and once for its province, each with how many dossiers
    of the row's procedure count there for that unit. -#}
{% macro of_agency_and_province(effect) -%}
    select
        department_code as unit_code,
        case when department_code = root_department_code then met_there_in_province else met_there end as met_of_unit,
        *
    from {{ effect }}
    union all
    select
        root_department_code as unit_code,
        met_there_in_province as met_of_unit,
        *
    from {{ effect }}
    where root_department_code <> department_code
{%- endmacro %}


{#- What dossiers change in a numerator: each its own, or their one procedure, which had `met_before` of them. -#}
{% macro numerator_of_dossiers(procedure_code, met_before, change) -%}
    case
        when {{ procedure_code }} is null then {{ change }}
        else ({{ met_before }} + {{ change }} > 0)::integer - ({{ met_before }} > 0)::integer
    end
{%- endmacro %}
