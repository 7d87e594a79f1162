{{
    config(
        tags=['national'],
        indexes=[
            {'columns': ['responsible_agency_code', 'period']},
            {'columns': ['department_code', 'period', 'indicator_code', 'cause']},
        ]
    )
}}

-- The dossiers behind each cause, by which the score of what the portal holds is not that of ours. Summed they are the
-- causes' totals; but a procedure counts once, so its dossiers have beside them how many of it count there.
with effect as (

    select * from {{ ref('int_national__effect') }}
    where scenario = 'portal'

),

by_unit as (

    select
        unit.unit_code,
        effect.period,
        effect.indicator_code,
        effect.procedure_code,
        sum(effect.numerator_change) as met_change
    from effect
    cross join
        lateral (
            values (effect.department_code), (nullif(effect.root_code, effect.department_code))
        ) as unit (unit_code)
    where effect.procedure_code is not null and unit.unit_code is not null
    group by unit.unit_code, effect.period, effect.indicator_code, effect.procedure_code

),

there as (

    select
        by_unit.unit_code,
        by_unit.period,
        by_unit.indicator_code,
        by_unit.procedure_code,
        coalesce(here.met_count, 0) + by_unit.met_change as met_count
    from by_unit
    left join {{ ref('int_service_index__procedure') }} as here
        on
            by_unit.unit_code = here.unit_code
            and by_unit.period = here.period
            and by_unit.indicator_code = here.indicator_code
            and by_unit.procedure_code = here.procedure_code

)

select
    effect.cause,
    effect.difference_class,
    effect.version_key,
    effect.dossier_key,
    effect.dossier_code,
    effect.responsible_agency_code,
    effect.department_code,
    effect.root_code as root_department_code,
    effect.counted_month,
    effect.indicator_code,
    effect.procedure_code,
    effect.period_kind,
    effect.period,
    effect.decided_before,
    effect.decided_after,
    effect.numerator_change,
    effect.denominator_change,
    effect.numerator_cure,
    effect.denominator_cure,
    there.met_count::integer as met_there,
    there_in_province.met_count::integer as met_there_in_province
from effect
left join there
    on
        effect.department_code = there.unit_code
        and effect.period = there.period
        and effect.indicator_code = there.indicator_code
        and effect.procedure_code = there.procedure_code
left join there as there_in_province
    on
        effect.root_code = there_in_province.unit_code
        and effect.period = there_in_province.period
        and effect.indicator_code = there_in_province.indicator_code
        and effect.procedure_code = there_in_province.procedure_code
