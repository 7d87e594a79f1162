-- The index as it would be with the dossiers that an operator assumes (national.assumed), by the same rules: what they
-- change in the totals of their base (ours, or what the portal holds), and the points of both.

with effect as (

    select * from {{ ref('int_national__effect') }}
    where scenario <> 'portal'

),

by_unit as (

    select
        department_code as unit_code,
        *
    from effect
    union all
    select
        root_code as unit_code,
        *
    from effect
    where root_code <> department_code

),

summed as (

    select
        by_unit.scenario,
        assumed.base,
        by_unit.unit_code,
        by_unit.period,
        by_unit.indicator_code,
        count(distinct by_unit.version_key) as dossier_count,
        sum(by_unit.numerator_change) as numerator_change,
        sum(by_unit.denominator_change) as denominator_change
    from by_unit
    inner join {{ ref('stg_national__assumed') }} as assumed
        on by_unit.scenario = assumed.scenario and by_unit.version_key = assumed.dossier_key
    group by by_unit.scenario, assumed.base, by_unit.unit_code, by_unit.period, by_unit.indicator_code

),

score as (

    select * from {{ ref('fct_service_index_score') }}
    where counted_by in ('warehouse', 'portal_copy')

),

changed as (

    select
        summed.*,
        score.department_name as unit_name,
        score.group_code,
        score.numerator,
        score.denominator,
        score.score,
        score.max_score,
        score.numerator + summed.numerator_change as numerator_then,
        score.denominator + summed.denominator_change as denominator_then
    from summed
    inner join score
        on
            summed.unit_code = score.department_code
            and summed.period = score.period
            and summed.indicator_code = score.indicator_code
            and score.counted_by = case when summed.base = 'portal' then 'portal_copy' else 'warehouse' end

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
