{#-
  Points of one indicator of QĐ 766/QĐ-TTg from its two totals: the share of the maximum that the ratio earns, full from
  `full_at` on, two decimals, half up. Without cases (a denominator of 0): what the indicator gives then, null where
  that is nothing. Null where a total is not known.
  Source: reproduced from the portal's published scores (rules 7.4(a)): points come from the raw totals, not from the
  published ratio, and each indicator is rounded before a group is added up. `decimals`: more where the points of a single
  dossier are asked for.
-#}
{% macro service_index_score(numerator, denominator, max_score, full_at, score_without_cases, decimals=2) -%}
    case
        when {{ denominator }} = 0 then {{ score_without_cases }}
        -- least() passes over a null.
        when {{ numerator }} is not null and {{ denominator }} is not null
            then round(least({{ max_score }}, {{ max_score }} * {{ numerator }} / ({{ denominator }} * {{ full_at }})), {{ decimals }})
    end
{%- endmacro %}
