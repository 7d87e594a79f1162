{#-
  Newest load number that this incremental model already holds. It is asked for before the model runs: a plan that knows
  the number finds the few rows after it by an index, and the hook that deletes does not change it for the model.
  Loads must become visible in the order of their numbers, or a late one would never be seen.
-#}
{% macro newest_load_in_this(column='load_number') -%}
    {%- if execute and is_incremental() -%}
        {{ run_query('select coalesce(max(' ~ column ~ '), 0) from ' ~ this).rows[0][0] }}
    {%- else -%}
        0
    {%- endif -%}
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
            where linked_in_load > {{ newest_load_in_this() }}
        )
    {% endif %}
{%- endmacro %}


{#-
  delete+insert, where the rows to insert are counted first: what PostgreSQL knows nothing of it takes for many, and
  reads the whole of a large table to delete a few rows of it.
-#}
{% macro postgres__get_delete_insert_merge_sql(target, source, unique_key, dest_columns, incremental_predicates) -%}
    analyze {{ source }};
    {{ dbt.default__get_delete_insert_merge_sql(target, source, unique_key, dest_columns, incremental_predicates) }}
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


{#-
  Of what the handovers were made: fingerprint of the decisions, and the newest link of records. Their own rows do not say
  it, as most loads bring none.
-#}
{% macro state_of_handovers() -%}
    select
        'fct_handover' as model_name,
        {{ fingerprint_of_decisions() }} as month_fingerprint,
        (select coalesce(max(link.linked_in_load), 0) from {{ ref('int_dossiers__record') }} as link) as linked_in_load
{%- endmacro %}


{#- Load since which records were linked that the handovers do not know; none where other decisions made them. -#}
{% macro handovers_made_until() -%}
    {%- set query -%}
        select split_part(made.month_fingerprint, '@', 2)::bigint as load_number
        from {{ ref('int_dossiers__month_made') }} as made
        inner join ({{ state_of_handovers() }}) as state on made.model_name = state.model_name
        where split_part(made.month_fingerprint, '@', 1) = state.month_fingerprint
    {%- endset -%}
    {%- set found = run_query(query).columns[0].values() | list if execute and is_incremental() else [] -%}
    {{ return(found[0] if found else none) }}
{%- endmacro %}


{#- In the model's own transaction: all handovers, or those of records that were linked anew. -#}
{% macro delete_handovers_to_make_anew() -%}
    {% if is_incremental() %}
        {% set since = handovers_made_until() %}
        delete from {{ this }}
        {% if since is not none %}
            where (source_code, dossier_id) in (
                select source_code, dossier_id from {{ ref('int_dossiers__record') }} where linked_in_load > {{ since }}
            )
        {% endif %}
    {% endif %}
{%- endmacro %}


{#- Condition on dossiers: all of them where all handovers are made anew. -#}
{% macro is_linked_since_the_handovers(dossier_key) -%}
    {%- set since = handovers_made_until() -%}
    {%- if since is none -%}
        true
    {%- else -%}
        {{ dossier_key }} in (
            select link.dossier_key from {{ ref('int_dossiers__record') }} as link where link.linked_in_load > {{ since }}
        )
    {%- endif -%}
{%- endmacro %}


{% macro remember_handovers() -%}
    delete from {{ ref('int_dossiers__month_made') }} where model_name = 'fct_handover';
    insert into {{ ref('int_dossiers__month_made') }} (model_name, month_fingerprint)
    select
        model_name,
        month_fingerprint || '@' || linked_in_load
    from ({{ state_of_handovers() }}) as state
{%- endmacro %}
