{{
    config(
        materialized='view',
        post_hook='alter view {{ this }} set (security_invoker = true)',
    )
}}

-- Where a number of the index comes from. Rights are those of who asks: an agency sees in it what it may see of the
-- facts.

with judged as (

    select * from {{ ref('fct_service_index_dossier') }}

),

as_of as (

    select as_of_date from {{ ref('as_of_day') }}

),

decided as (

    select
        judged.dossier_key,
        judged.dossier_code,
        judged.responsible_agency_code,
        judged.procedure_code,
        judged.counted_month,
        judged.open_limit_date,
        judged.origin,
        clause.indicator_code,
        clause.counts_procedures,
        split_part(clause.decided, ':', 1) as outcome_by_clause,
        split_part(clause.decided, ':', 2) as clause,
        period.period_kind,
        period.period,
        period.last_day
    from judged
    cross join
        lateral (
            {{ outcomes_of_the_index('judged') }}
        ) as clause (indicator_code, counts_procedures, decided)
    cross join
        lateral (
            {{ periods_of_month('judged.counted_month') }}
        ) as period (period_kind, period, last_day)
    where judged.counted_month is not null

),

judged_by_period as (

    select
        decided.*,
        case
            when decided.outcome_by_clause <> 'open' then decided.outcome_by_clause
            when {{ index_is_on_time_without_end('decided.open_limit_date', 'decided.last_day', 'as_of.as_of_date') }}
                then 'met'
            else 'missed'
        end as outcome
    from decided
    cross join as_of

)

select
    period_kind,
    period,
    indicator_code,
    responsible_agency_code,
    {{ province_root_of_agency('responsible_agency_code') }} as root_department_code,
    counted_month,
    dossier_key,
    dossier_code,
    procedure_code,
    outcome,
    clause,
    outcome = 'met' as is_in_numerator,
    outcome in ('met', 'missed') and not counts_procedures as is_in_denominator,
    counts_procedures,
    origin
from judged_by_period
