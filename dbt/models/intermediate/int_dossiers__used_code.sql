{{ kept_by_month() }}

-- The hooks read these only in incremental runs, which dbt does not see when it parses.
-- depends_on: {{ ref('int_dossiers__month') }}
-- depends_on: {{ ref('int_dossiers__month_made') }}

-- Counted in one pass over the facts, for all who ask which codes the dimensions lack. A commune's code is here only
-- where the list of the day of receipt does not have it.
with dossier as (

    select
        fact.dossier_key,
        fact.procedure_code,
        fact.receiving_agency_code,
        fact.responsible_agency_code,
        case when unit.unit_key is null then fact.applicant_commune_code end as unlisted_commune_code,
        -- The lists answer from one day on; before it a commune is "not known", no mistake of the source.
        fact.received_date < '{{ var("administrative_units_known_from") }}'::date as is_before_known_from,
        fact.source_code,
        fact.origin,
        {{ month_of('fact.received_date') }} as received_month
    from {{ ref('fct_dossier') }} as fact
    left join {{ ref('int_administrative_units__listed') }} as unit
        on
            unit.unit_level = 'commune'
            and {{ administrative_unit_as_of('unit', 'fact.applicant_commune_code', 'fact.received_date') }}
    where {{ is_in_a_changed_month('fact.received_date') }}

),

counted as (

    select
        case
            when grouping(procedure_code) = 0 then 'procedure'
            when grouping(receiving_agency_code) = 0 then 'receiving_agency'
            when grouping(responsible_agency_code) = 0 then 'responsible_agency'
            else 'applicant_commune'
        end as code_kind,
        coalesce(procedure_code, receiving_agency_code, responsible_agency_code, unlisted_commune_code) as code,
        coalesce(is_before_known_from, false) as is_before_known_from,
        source_code,
        received_month,
        count(*) as dossier_count,
        max(origin) as origin
    from dossier
    group by
        grouping sets (
            (received_month, source_code, procedure_code),
            (received_month, source_code, receiving_agency_code),
            (received_month, source_code, responsible_agency_code),
            (received_month, source_code, unlisted_commune_code, is_before_known_from)
        )
    union all
    select
        'step_agency' as code_kind,
        step.agency_code as code,
        false as is_before_known_from,
        dossier.source_code,
        dossier.received_month,
        count(distinct dossier.dossier_key) as dossier_count,
        max(step.origin) as origin
    from dossier
    inner join {{ ref('fct_dossier_step') }} as step on dossier.dossier_key = step.dossier_key
    where step.is_current_record
    group by step.agency_code, dossier.source_code, dossier.received_month

)

select * from counted
where code is not null
