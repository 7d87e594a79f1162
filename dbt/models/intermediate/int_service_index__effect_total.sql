-- What each cause changes in the totals of an agency and of its province.
with effect as (

    select * from {{ ref('fct_service_index_cause_dossier') }}

),

by_unit as (

    select
        department_code as unit_code,
        *
    from effect
    union all
    select
        root_department_code as unit_code,
        *
    from effect
    where root_department_code <> department_code

)

select
    unit_code,
    root_department_code,
    period_kind,
    period,
    indicator_code,
    cause,
    count(distinct version_key) as dossier_count,
    sum(numerator_change) as numerator_change,
    sum(denominator_change) as denominator_change,
    sum(numerator_cure) as numerator_cure,
    sum(denominator_cure) as denominator_cure
from by_unit
group by unit_code, root_department_code, period_kind, period, indicator_code, cause
