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


{#- The month, quarter and year that a month belongs to: name, how many make a year, first day, length; as `values`. -#}
{% macro periods_of_the_index(month) -%}
    values
    (to_char({{ month }}, 'YYYY-MM'), 12, {{ month }}, interval '1 month'),
    (
        to_char({{ month }}, 'YYYY-"Q"Q'), 4, date_trunc('quarter', {{ month }})::date,
        interval '3 months'
    ),
    (to_char({{ month }}, 'YYYY'), 1, date_trunc('year', {{ month }})::date, interval '1 year')
{%- endmacro %}


{#- In the model's own transaction: totals of a period that would be counted otherwise now go. -#}
{% macro delete_periods_counted_otherwise() -%}
    {% if is_incremental() %}
        delete from {{ this }} as counted
        where
            not exists (
                select 1 from {{ ref('int_service_index__period_month') }} as period_now
                where
                    counted.period = period_now.period
                    and counted.period_fingerprint = period_now.period_fingerprint
            )
    {% endif %}
{%- endmacro %}
