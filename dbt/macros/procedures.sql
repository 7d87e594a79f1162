{#-
  Join condition: what the catalogue said of a procedure on a day. A day before the first snapshot finds nothing: what the
  catalogue said then is not known, and today's answer is not put in its place.
-#}
{% macro procedure_version_as_of(version, procedure_code, day) -%}
    {{ version }}.procedure_code = {{ procedure_code }}
    and {{ version }}.valid_from <= {{ day }}
    and ({{ version }}.valid_to is null or {{ day }} < {{ version }}.valid_to)
{%- endmacro %}


{#-
  Columns of a procedure that no portal gave: the crawl that the sandbox replays does not hold them, so its generator
  assigned them, and says so in the value: a sector code with "-SIM" (G15-SIM1A2B), or an identifier that is a UUID of
  version 8, which RFC 9562 leaves to whoever makes one. An entry with such a sector code was put together from the
  crawl, whose state and type are assumed, too. Null for what the portal itself answered.
-#}
{% macro columns_the_generator_assigned(sector_code, procedure_id) -%}
    nullif(concat_ws(
        ', ',
        case when {{ sector_code }} ~ '-SIM[0-9A-F]+$' then 'procedure_state, procedure_type, sector_code' end,
        case when {{ procedure_id }} ~ '^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-' then 'procedure_id' end
    ), '')
{%- endmacro %}
