{#-
  What happened to each dossier, and under which clause of the note each indicator counts it: "met:", "missed:" (counted,
  not met), "excluded:" (not counted) or "open:" (the period decides), then what decided. CTEs that end in `judged`.
  They read the CTE `dossier`, which has the columns of fct_dossier, of our own dossiers or of another's copy of them;
  `known` is the CTE that has each key of ours once, for its steps, papers and fees. `catalogue` stands before them.
-#}
{% macro catalogue_for_the_index() -%}
catalogue as (

    select
        procedure_code,
        nullif(btrim(result_names), '') is not null as has_result,
        coalesce(has_fee, false) as has_fee,
        time_limit_in_person,
        time_limit_in_person_unit,
        time_limit_online,
        time_limit_online_unit,
        concat_ws(
            '|', nullif(btrim(result_names), '') is not null, coalesce(has_fee, false),
            coalesce(time_limit_in_person::text, '-'), coalesce(time_limit_in_person_unit, '-'),
            coalesce(time_limit_online::text, '-'), coalesce(time_limit_online_unit, '-')
        ) as procedure_facts
    from {{ ref('dim_procedure') }}
    where is_known

)
{%- endmacro %}


{#-
  Query of the procedures of which the catalogue says something else than when this model judged their dossiers. Each of
  them is looked up by the index; comparing each dossier would take longer with each year.
-#}
{% macro procedures_judged_otherwise() -%}
    {%- set of_it = 'select 1 from ' ~ this ~ ' as judged where judged.procedure_code = code.procedure_code' -%}
    with recursive
    {{ catalogue_for_the_index() }},
    code as (
        select min(procedure_code) as procedure_code
        from {{ this }}
        union all
        select (
            select min(later.procedure_code) from {{ this }} as later
            where later.procedure_code > code.procedure_code
        ) as procedure_code
        from code
        where code.procedure_code is not null
    )
    select code.procedure_code
    from code
    left join catalogue on code.procedure_code = catalogue.procedure_code
    where
        exists ({{ of_it }} and judged.procedure_facts < catalogue.procedure_facts)
        or exists ({{ of_it }} and judged.procedure_facts > catalogue.procedure_facts)
        or catalogue.procedure_facts is null and exists ({{ of_it }} and judged.procedure_facts is not null)
        or catalogue.procedure_facts is not null and exists ({{ of_it }} and judged.procedure_facts is null)
{%- endmacro %}


{#- Condition on dossiers; asked for before the model runs, as on most days there is none. -#}
{% macro is_of_a_procedure_judged_otherwise(procedure_code) -%}
    {%- if execute and run_query(procedures_judged_otherwise()).rows -%}
        {{ procedure_code }} in ({{ procedures_judged_otherwise() }})
    {%- else -%}
        false
    {%- endif -%}
{%- endmacro %}


{% macro judged_by_the_index(known='dossier') -%}
step as (

    select
        step.dossier_key,
        max(step.started_at) filter (where step.status_code = 5 and step.finished_at is null) as waiting_step_began_at,
        sum(step.finished_at - step.started_at) filter (where step.status_code = 5) as waited,
        max(step.finished_at) filter (where step.status_code in (3, 7, 8)) as stopping_step_ended_at
    from {{ known }} as dossier
    inner join {{ ref('fct_dossier_step') }} as step on dossier.dossier_key = step.dossier_key
    where step.is_current_record and step.status_code in (3, 5, 7, 8)
    group by step.dossier_key

),

paper as (

    select
        dossier.dossier_key,
        bool_or(paper.is_result) as has_result_paper,
        bool_or(paper.is_result and paper.has_file) as has_result_file,
        bool_or(paper.is_result and paper.has_file and paper.paper_code is not null) as has_result_code_and_link,
        bool_or(not paper.is_result and paper.has_file) as has_component_file,
        bool_or(not paper.is_result and coalesce(paper.is_digitised, false)) as has_digitised_component,
        bool_or(not paper.is_result and coalesce(paper.is_from_personal_storage, false)) as has_component_from_store
    from {{ known }} as dossier
    inner join {{ ref('stg_dossiers__paper') }} as paper
        on dossier.source_code = paper.source_code and dossier.dossier_id = paper.dossier_id
    group by dossier.dossier_key

),

fee as (

    select
        dossier.dossier_key,
        count(*) as fee_count,
        count(*) filter (where fee.amount_vnd <> 0) as charged_count
    from {{ known }} as dossier
    inner join {{ ref('stg_dossiers__fee') }} as fee
        on dossier.source_code = fee.source_code and dossier.dossier_id = fee.dossier_id
    group by dossier.dossier_key

),

happened as (

    select
        dossier.*,
        -- The portal's copy of a dossier names one agency, the one that decides (DonViXuLy). It counts for the period
        -- of the receipt, so for the agency that decided then, also where another has taken the dossier over since.
        coalesce(first_record.responsible_agency_code, dossier.responsible_agency_code, 'unknown') as department_code,
        {{ index_is_received('dossier.received_at', 'dossier.status_code') }} as is_received,
        date_trunc(
            'month', {{ local_date(index_moment_of_use('dossier.received_at', 'dossier.submitted_at')) }}
        )::date as counted_month,
        {{ index_processed_at('dossier.status_code', 'dossier.completed_at') }} as processed_at,
        {{ index_returned_at('dossier.status_code', 'dossier.returned_at') }} as returned_in_the_end_at,
        {{ index_stopped_at('dossier.status_code', 'dossier.completed_at', 'step.stopping_step_ended_at') }}
            as stopped_at,
        {{ index_supplement_pending_since('dossier.status_code', 'step.waiting_step_began_at') }} as pending_since,
        {{ index_is_late_by_supplements('dossier.supplement_count') }} as is_late_by_supplements,
        step.waited,
        case
            when dossier.due_at is null
                then {{ function('deadline') }}(
                    dossier.received_at,
                    case
                        when {{ is_online_channel('dossier.channel') }} then catalogue.time_limit_online
                        else catalogue.time_limit_in_person
                    end,
                    case
                        when {{ is_online_channel('dossier.channel') }} then catalogue.time_limit_online_unit
                        else catalogue.time_limit_in_person_unit
                    end,
                    -- Of most one-stops nobody knows it; the function counts these as closed.
                    one_stop.is_open_on_saturday::boolean
                )
        end as legal_maximum_at,
        coalesce(paper.has_result_file, false) as has_result_file,
        coalesce(paper.has_result_code_and_link, false) as has_result_code_and_link,
        coalesce(paper.has_component_file, false) as has_component_file,
        coalesce(paper.has_digitised_component, false) as has_digitised_component,
        coalesce(paper.has_component_from_store, false) as has_component_from_store,
        {{ index_requires_result('catalogue.has_result', 'paper.has_result_paper') }} as requires_result,
        catalogue.has_fee as procedure_has_fee,
        coalesce(fee.fee_count, 0) as fee_count,
        coalesce(fee.charged_count, 0) as charged_count,
        catalogue.procedure_facts
    from dossier
    left join {{ ref('stg_dossiers__dossier') }} as first_record
        on
            dossier.record_count > 1
            and dossier.first_source_code = first_record.source_code
            and dossier.first_dossier_id = first_record.dossier_id
    left join catalogue on dossier.procedure_code = catalogue.procedure_code
    left join {{ ref('saturday_one_stop') }} as one_stop on dossier.receiving_agency_code = one_stop.agency_code
    left join step on dossier.dossier_key = step.dossier_key
    left join paper on dossier.dossier_key = paper.dossier_key
    left join fee on dossier.dossier_key = fee.dossier_key

),

ended as (

    select
        *,
        coalesce(processed_at, returned_in_the_end_at, stopped_at, pending_since) as end_state_at,
        case
            when processed_at is not null then 'processed'
            when returned_in_the_end_at is not null then 'returned'
            when stopped_at is not null then 'stopped'
            else 'supplement_pending'
        end as end_state,
        {{ index_limit_or_legal_maximum('due_at', 'legal_maximum_at') }} as limit_at,
        case when due_at is null then '+legal_maximum' else '' end as limit_name
    from happened

),

timed as (

    select
        *,
        {{ index_without_waiting('end_state_at', 'waited') }} as ended_at
    from ended

),

judged as (

    select
        *,
        case
            when not is_received then 'excluded:not_received'
            when {{ index_is_synchronised('national_code') }} then 'met:synchronised'
            else 'missed:not_synchronised'
        end as dossier_sync,
        case
            when not is_received then 'excluded:not_received'
            when is_late_by_supplements then 'missed:several_supplements'
            when limit_at is null then 'excluded:no_time_limit'
            when ended_at is null then 'open:no_end' || limit_name
            when {{ index_is_on_time('ended_at', 'limit_at') }}
                then
                    'met:' || end_state || limit_name
                    || case when {{ index_is_on_time('end_state_at', 'limit_at') }} then '' else '+waiting' end
            else 'missed:' || end_state || limit_name
        end as progress_on_time,
        case
            when not is_received then 'excluded:not_received'
            when {{ index_is_online('channel') }} then 'met:online'
            when channel = 3 then 'missed:post'
            else 'missed:in_person'
        end as online_dossier,
        case
            when not is_received then 'excluded:not_received'
            when not {{ index_is_online('channel') }} then 'missed:not_online'
            when {{ index_has_result_where_required('requires_result', 'has_result_code_and_link') }} then 'met:online'
            else 'missed:no_result'
        end as online_dossier_by_note,
        case
            when {{ index_is_online('channel') }} then 'met:online'
            else 'missed:not_online'
        end as online_service_used,
        case
            when {{ index_has_a_fee('charged_count') }} then 'met:fee'
            else 'missed:no_fee'
        end as payment_service_used,
        case
            when not is_received then 'excluded:not_received'
            when not {{ index_is_of_fee_procedure('procedure_has_fee', 'fee_count') }} then 'excluded:no_fee_procedure'
            when {{ index_owes_nothing('fee_count', 'charged_count') }} then 'excluded:every_fee_0'
            when {{ index_is_paid_online('online_payment_code') }} then 'met:paid_online'
            else 'missed:not_paid_online'
        end as payment_dossier,
        case
            when not is_received then 'excluded:not_received'
            when requires_result is null then 'excluded:requirement_unknown'
            when not requires_result then 'excluded:no_result_required'
            when {{ index_has_result_link('has_result_file') }} then 'met:result_link'
            else 'missed:no_result_link'
        end as original_result_available,
        case
            when not is_received then 'excluded:not_received'
            when {{ index_has_papers_and_result('has_component_file', 'has_result_file') }} then 'met:papers_and_result'
            when has_component_file then 'missed:no_result'
            when has_result_file then 'missed:no_papers'
            else 'missed:nothing_attached'
        end as papers_and_result_digitised,
        case
            when not is_received then 'excluded:not_received'
            when {{ index_has_digitised_component('has_digitised_component') }} then 'met:component_digitised'
            else 'missed:none_digitised'
        end as reused_digitised_data,
        case
            when not is_received then 'excluded:not_received'
            when {{ index_has_component_from_store('has_component_from_store') }} then 'met:from_store'
            else 'missed:none_from_store'
        end as synced_with_personal_storage,
        case
            when not is_received then 'excluded:not_received'
            when {{ index_has_vneid_account('is_vneid_account') }} then 'met:vneid'
            when {{ index_has_component_from_store('has_component_from_store') }} then 'met:from_store'
            else 'missed:no_population_data'
        end as citizen_data_connected
    from timed

)
{%- endmacro %}
