-- What our own dossiers give for the province as a whole; agencies below it are not in open data. Numbers stand where
-- both are dossiers of the period: not the share of last year's total that stands in for a period without any.
with score as (

    select
        *,
        numerator is not null
        and denominator = round(denominator)
        and (indicator_code <> 'DOSSIER_SYNC' or numerator > 0) as counts_dossiers
    from {{ ref('fct_service_index_score') }}
    where counted_by = 'warehouse' and department_id = root_department_id

),

-- A month is whole when each system that loaded any of it loaded all; a longer period when all its months are.
whole_month as (

    select
        year_month,
        to_char((year_month || '-01')::date, 'YYYY-"Q"Q') as year_quarter
    from {{ ref('dossier_results_monthly') }}
    group by year_month
    having not bool_or(is_provisional)

)

select
    period,
    case when period ~ '^[0-9]{4}$' then 'year' when period ~ 'Q' then 'quarter' else 'month' end as period_level,
    root_department_id as province_agency_code,
    group_code,
    indicator_code,
    case when counts_dossiers then numerator::bigint end as numerator,
    case when counts_dossiers then denominator::bigint end as denominator,
    case when counts_dossiers then ratio end as ratio,
    score,
    max_score,
    null_reason,
    indicator_code = 'PROGRESS_ON_TIME' as is_judged_at_period_end,
    origin,
    whole.month_count < case when period ~ '^[0-9]{4}$' then 12 when period ~ 'Q' then 3 else 1 end as is_provisional
from score
cross join lateral (
    select count(*) as month_count
    from whole_month
    where score.period in (whole_month.year_month, whole_month.year_quarter, left(whole_month.year_month, 4))
) as whole
