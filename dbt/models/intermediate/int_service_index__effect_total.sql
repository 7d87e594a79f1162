-- What each cause changes in the totals of an agency and of its province.
with effect as (

    select * from {{ ref('fct_service_index_cause_dossier') }}

),

by_unit as (

    {{ of_agency_and_province('effect') }}

),

-- A procedure counts with its first dossier: what a cause changes of it depends on those before it.
by_procedure as (

    select
        unit_code,
        root_department_code,
        period_kind,
        period,
        indicator_code,
        procedure_code,
        cause,
        {{ order_of_cause('cause') }} as cause_order,
        sum(numerator_change) as numerator_change,
        sum(denominator_change) as denominator_change,
        sum(numerator_cure) as numerator_cure,
        sum(denominator_cure) as denominator_cure,
        max(met_of_unit) as met_there
    from by_unit
    group by unit_code, root_department_code, period_kind, period, indicator_code, procedure_code, cause

),

in_order as (

    select
        *,
        met_there - sum(numerator_change) over same_procedure
        + sum(numerator_change) over (same_procedure order by cause_order) - numerator_change as met_before
    from by_procedure
    window same_procedure as (
        partition by unit_code, root_department_code, period_kind, period, indicator_code, procedure_code
    )

),

behind as (

    select
        unit_code,
        root_department_code,
        period_kind,
        period,
        indicator_code,
        cause,
        count(distinct version_key) as dossier_count
    from by_unit
    group by unit_code, root_department_code, period_kind, period, indicator_code, cause

),

summed as (

    select
        unit_code,
        root_department_code,
        period_kind,
        period,
        indicator_code,
        cause,
        sum({{ numerator_of_dossiers('procedure_code', 'met_before', 'numerator_change') }}) as numerator_change,
        sum(denominator_change) as denominator_change,
        sum({{ numerator_of_dossiers('procedure_code', 'met_there', 'numerator_cure') }}) as numerator_cure,
        sum(denominator_cure) as denominator_cure
    from in_order
    group by unit_code, root_department_code, period_kind, period, indicator_code, cause

)

select
    summed.*,
    behind.dossier_count
from summed
inner join behind
    on
        summed.unit_code = behind.unit_code
        and summed.root_department_code = behind.root_department_code
        and summed.period_kind = behind.period_kind
        and summed.period = behind.period
        and summed.indicator_code = behind.indicator_code
        and summed.cause = behind.cause
