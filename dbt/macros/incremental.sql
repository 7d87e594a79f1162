{#-
  Newest load number that an incremental model already holds.
  Loads must become visible in the order of their numbers, or a late one would never be seen.
-#}
{% macro newest_load_in(relation, column='load_number') -%}
    (select coalesce(max({{ column }}), 0) from {{ relation }})
{%- endmacro %}


{#-
  Rows of records that were linked anew since this model was built, to be deleted before the new ones are inserted.
  delete+insert alone would leave rows whose key has changed or that have gone (a step that vanished,
  a dossier that another system's record turned out to continue). Runs in the model's own transaction.
-#}
{% macro delete_rows_of_relinked_records() -%}
    {% if is_incremental() %}
        delete from {{ this }}
        where (source_code, dossier_id) in (
            select source_code, dossier_id from {{ ref('int_dossiers__record') }}
            where linked_in_load > {{ newest_load_in(this) }}
        )
    {% endif %}
{%- endmacro %}


{#- Fingerprint of the decisions on handovers and of the successors they lead to. -#}
{% macro fingerprint_of_decisions() -%}
    (
        select md5(string_agg(known.line, chr(10) order by known.line))
        from (
            select concat_ws('|', from_agency_code, to_agency_code, effective_date, decision_no) as line
            from {{ ref('int_agencies__succession') }}
            union all
            select concat_ws('|', scope, from_agency, to_agency, effective_date, decision_no) as line
            from {{ ref('handover_decision') }}
        ) as known
    )
{%- endmacro %}


{#- All handovers, where they were made by other decisions than are known now. -#}
{% macro delete_handovers_of_other_decisions() -%}
    {% if is_incremental() %}
        delete from {{ this }}
        where
            exists (
                select 1 from {{ this }} as made
                where made.decisions_fingerprint is distinct from {{ fingerprint_of_decisions() }}
            )
    {% endif %}
{%- endmacro %}
