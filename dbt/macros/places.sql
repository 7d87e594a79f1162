{#-
  Join condition: the administrative unit a code meant on a day.
  Code 82 was Tiền Giang on 30/6/2025 and is Đồng Tháp since 1/7/2025; a day before the lists begin finds nothing.
-#}
{% macro administrative_unit_as_of(unit, unit_code, day) -%}
    {{ unit }}.unit_code = {{ unit_code }}
    and {{ unit }}.valid_from <= {{ day }}
    and ({{ unit }}.valid_to is null or {{ day }} < {{ unit }}.valid_to)
{%- endmacro %}


{#- True for the form of identification codes used until the 2025 amendment: 000.00.14.H20. -#}
{% macro is_old_agency_code(agency_code) -%}
    ({{ agency_code }} ~ '^[0-9]{3}\.[0-9]{2}\.[0-9]{2}\.[A-Z][0-9]{2}$')
{%- endmacro %}


{#- The new form of an agency code (QĐ 20/2020/QĐ-TTg, amended by QĐ 09/2025/QĐ-TTg): 000.00.14.H20 becomes H20.14. -#}
{% macro new_form_of_agency_code(agency_code) -%}
    case
        when {{ is_old_agency_code(agency_code) }}
            then split_part({{ agency_code }}, '.', 4)
                || case when split_part({{ agency_code }}, '.', 3) <> '00' then '.' || split_part({{ agency_code }}, '.', 3) else '' end
                || case when split_part({{ agency_code }}, '.', 2) <> '00' then '.' || split_part({{ agency_code }}, '.', 2) else '' end
                || case when split_part({{ agency_code }}, '.', 1) <> '000' then '.' || split_part({{ agency_code }}, '.', 1) else '' end
        else {{ agency_code }}
    end
{%- endmacro %}


{#- Code of the province or ministry an agency belongs to: H20 for H20.14 and for 000.00.14.H20. -#}
{% macro province_of_agency(agency_code) -%}
    case
        when {{ is_old_agency_code(agency_code) }} then split_part({{ agency_code }}, '.', 4)
        else split_part({{ agency_code }}, '.', 1)
    end
{%- endmacro %}


{#-
  The province's own agency code in the form of an agency's code: 000.00.00.H20 for 000.00.14.H20, H20 for H20.14. The old
  province and the new one are two units, and so are these.
-#}
{% macro province_root_of_agency(agency_code) -%}
    case
        when {{ is_old_agency_code(agency_code) }} then '000.00.00.' || split_part({{ agency_code }}, '.', 4)
        else split_part({{ agency_code }}, '.', 1)
    end
{%- endmacro %}
