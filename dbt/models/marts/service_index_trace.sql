{{
    config(
        materialized='view',
        post_hook='alter view {{ this }} set (security_invoker = true)',
    )
}}

-- Where a number of the index comes from. Rights are those of who asks: an agency sees in it what it may see of the
-- facts.

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
from (
    select
        judged.dossier_key,
        judged.dossier_code,
        judged.responsible_agency_code,
        judged.procedure_code,
        judged.counted_month,
        judged.origin,
        clause.indicator_code,
        clause.counts_procedures,
        split_part(clause.decided, ':', 2) as clause,
        period.period_kind,
        period.period,
        case
            when split_part(clause.decided, ':', 1) <> 'open' then split_part(clause.decided, ':', 1)
            when {{ index_is_on_time_without_end('judged.open_limit_date', 'period.last_day', 'as_of.as_of_date') }}
                then 'met'
            else 'missed'
        end as outcome
    from {{ ref('fct_service_index_dossier') }} as judged
    cross join {{ ref('as_of_day') }} as as_of
    cross join
        lateral (
            {{ outcomes_of_the_index('judged') }}
        ) as clause (indicator_code, counts_procedures, decided)
    cross join
        lateral (
            {{ periods_of_month('judged.counted_month') }}
        ) as period (period_kind, period, last_day)
    where {{ is_judged_by_the_index('judged.counted_month') }}
) as judged_by_period
