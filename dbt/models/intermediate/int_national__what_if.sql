-- The index as it would be with the dossiers that an operator assumes (national.assumed), by the same rules: what they
-- change in the totals of their base (ours, or what the portal holds), and the points of both.

with effect as (

    select * from {{ ref('int_national__effect') }}
    where scenario <> 'portal'

),

by_unit as (

    select
        effect.*,
        assumed.base,
        unit.unit_code
    from effect
    inner join {{ ref('stg_national__assumed') }} as assumed
        on effect.scenario = assumed.scenario and effect.version_key = assumed.dossier_key
    cross join
        lateral (
            values (effect.department_code), (nullif(effect.root_code, effect.department_code))
        ) as unit (unit_code)
    where unit.unit_code is not null

),

changed_there as (

    {{ of_agency_and_province(ref('fct_service_index_cause_dossier')) }}

),

-- The portal holds as many dossiers of a procedure as we do, changed by what differs.
there as (

    select
        unit_code,
        period,
        indicator_code,
        procedure_code,
        max(met_of_unit) as met_count
    from changed_there
    where procedure_code is not null
    group by unit_code, period, indicator_code, procedure_code

),

by_procedure as (

    select
        scenario,
        base,
        unit_code,
        period,
        indicator_code,
        procedure_code,
        sum(numerator_change) as numerator_change,
        sum(denominator_change) as denominator_change
    from by_unit
    group by scenario, base, unit_code, period, indicator_code, procedure_code

),

moved as (

    select
        by_procedure.*,
        coalesce(case when by_procedure.base = 'portal' then there.met_count end, here.met_count, 0) as met_before
    from by_procedure
    left join {{ ref('int_service_index__procedure') }} as here
        on
            by_procedure.unit_code = here.unit_code
            and by_procedure.period = here.period
            and by_procedure.indicator_code = here.indicator_code
            and by_procedure.procedure_code = here.procedure_code
    left join there
        on
            by_procedure.unit_code = there.unit_code
            and by_procedure.period = there.period
            and by_procedure.indicator_code = there.indicator_code
            and by_procedure.procedure_code = there.procedure_code

),

behind as (

    select
        scenario,
        base,
        unit_code,
        period,
        indicator_code,
        count(distinct version_key) as dossier_count
    from by_unit
    group by scenario, base, unit_code, period, indicator_code

),

summed as (

    select
        scenario,
        base,
        unit_code,
        period,
        indicator_code,
        sum({{ numerator_of_dossiers('procedure_code', 'met_before', 'numerator_change') }}) as numerator_change,
        sum(denominator_change) as denominator_change
    from moved
    group by scenario, base, unit_code, period, indicator_code

),

explained as (

    select * from {{ ref('fct_service_index_explained') }}

),

changed as (

    select
        summed.*,
        behind.dossier_count,
        explained.unit_name,
        explained.group_code,
        based.numerator,
        based.denominator,
        based.score,
        based.numerator + summed.numerator_change as numerator_then,
        based.denominator + summed.denominator_change as denominator_then
    from summed
    inner join behind
        on
            summed.scenario = behind.scenario
            and summed.base = behind.base
            and summed.unit_code = behind.unit_code
            and summed.period = behind.period
            and summed.indicator_code = behind.indicator_code
    inner join explained
        on
            summed.unit_code = explained.unit_code
            and summed.period = explained.period
            and summed.indicator_code = explained.indicator_code
    cross join
        lateral (
            values
            (
                'portal', explained.portal_copy_numerator, explained.portal_copy_denominator,
                explained.portal_copy_score
            ),
            (
                'warehouse', explained.warehouse_numerator, explained.warehouse_denominator, explained.warehouse_score
            )
        ) as based (base, numerator, denominator, score)
    where summed.base = based.base and based.denominator is not null

)

select
    changed.scenario,
    changed.base,
    changed.unit_code,
    changed.unit_name,
    changed.period,
    changed.group_code,
    changed.indicator_code,
    changed.dossier_count,
    changed.numerator,
    changed.denominator,
    changed.score,
    changed.numerator_then,
    {{ denominator_of_the_index('changed.indicator_code', 'changed.numerator_then', 'changed.denominator_then') }}
        as denominator_then,
    coalesce({{ service_index_score(
        'changed.numerator_then',
        denominator_of_the_index('changed.indicator_code', 'changed.numerator_then', 'changed.denominator_then'),
        'indicator.max_score::numeric', 'indicator.full_at::numeric',
        "nullif(indicator.score_without_cases, '')::numeric"
    ) }}, 0) as score_then
from changed
inner join {{ ref('service_index_indicator') }} as indicator on changed.indicator_code = indicator.indicator_code
