{#- Local calendar date of a timestamptz. -#}
{% macro local_date(moment) -%}
    ({{ moment }} at time zone '{{ var("business_time_zone") }}')::date
{%- endmacro %}


{#- Last local day that lies wholly before a moment: the end of a load's interval is exclusive. -#}
{% macro last_local_day_before(moment) -%}
    ({{ moment }} at time zone '{{ var("business_time_zone") }}' - interval '1 microsecond')::date
{%- endmacro %}
