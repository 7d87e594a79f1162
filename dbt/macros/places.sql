{#-
  Join condition: the administrative unit a code meant on a day.
  Code 82 was Tiền Giang on 30/6/2025 and is Đồng Tháp since 1/7/2025; a day before the lists begin finds nothing.
-#}
{% macro administrative_unit_as_of(unit, unit_code, day) -%}
    {{ unit }}.unit_code = {{ unit_code }}
    and {{ unit }}.valid_from <= {{ day }}
    and ({{ unit }}.valid_to is null or {{ day }} < {{ unit }}.valid_to)
{%- endmacro %}


{#-
  Join condition: the agency a code meant on a day, receiving or responsible. A body founded later finds nothing on an
  earlier day, one that was abolished nothing since, and so does a day of which nobody knows whether the code was in use.
-#}
{% macro agency_as_of(agency, agency_code, day) -%}
    {{ agency }}.agency_code = {{ agency_code }}
    and {{ agency }}.valid_from <= {{ day }}
    and ({{ agency }}.valid_to is null or {{ day }} < {{ agency }}.valid_to)
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


{#- Before the communes of 1/7/2025 (NQ 202/2025/QH15, QĐ 19/2025/QĐ-TTg). -#}
{% macro is_before_reorganisation(day) -%}
    {{ day }} < '{{ var("reorganisation_date") }}'::date
{%- endmacro %}


{#- Whether the lists answer for a day. Before it an answer is what they say of their first day, and is marked so. -#}
{% macro are_communes_known_on(day) -%}
    ({{ day }} >= '{{ var("administrative_units_known_from") }}'::date)
{%- endmacro %}


{#-
  Join condition: the comparable area of the commune a code meant on a day. The same five digits may stand for an old
  and a new commune of different extent, so the day decides which of the two is meant. Whoever shows the area of a day
  before the lists begin says so (are_communes_known_on).
-#}
{% macro comparable_area_of(area, commune_code, day) -%}
    {{ area }}.commune_code = {{ commune_code }}
    and {{ area }}.is_old_commune = ({{ is_before_reorganisation(day) }})
{%- endmacro %}


{#- What an agency is called without the province it belongs to: Sở Tư pháp for "Sở Tư pháp - Tỉnh Phú Thọ". -#}
{% macro agency_title(agency_name) -%}
    btrim(regexp_replace({{ agency_name }}, '\s*-?\s*(tỉnh|thành phố)\s.*$', '', 'i'))
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


{#- What a dimension calls a code that no list knows; the code stays readable for whoever repairs it. -#}
{% macro name_of_unknown_code(code) -%}
    'Không rõ (' || {{ code }} || ')'
{%- endmacro %}
