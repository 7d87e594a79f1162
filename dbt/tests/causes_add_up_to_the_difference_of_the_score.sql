-- From our score to what the portal holds, and to the published one: the causes' points are the whole difference, and
-- the dossiers behind a cause are its whole change. A procedure counts once: of indicators that count procedures the
-- causes are the whole change of their number.
with cause as (

    select
        unit_code,
        period,
        indicator_code,
        sum(points) as points,
        sum(points) filter (where cause not in ('not_explained', 'rule_or_rounding')) as points_of_dossiers,
        sum(numerator_change) filter (where cause not in ('not_explained', 'rule_or_rounding')) as change_by_dossiers
    from {{ ref('fct_service_index_cause') }}
    group by unit_code, period, indicator_code

),

explained as (

    select * from {{ ref('fct_service_index_explained') }}
    where portal_copy_denominator is not null

),

behind as (

    select
        department_code,
        period,
        indicator_code,
        cause,
        sum(numerator_change) as numerator_change,
        sum(denominator_change) as denominator_change
    from {{ ref('fct_service_index_cause_dossier') }}
    where department_code <> root_department_code and procedure_code is null
    group by department_code, period, indicator_code, cause

)

select
    explained.unit_code,
    explained.period,
    explained.indicator_code,
    'score' as what
from explained
left join cause
    on
        explained.unit_code = cause.unit_code
        and explained.period = cause.period
        and explained.indicator_code = cause.indicator_code
where
    coalesce(cause.points, 0) <> coalesce(
        explained.published_score, explained.score_of_published_totals, explained.portal_copy_score, 0
    ) - coalesce(explained.warehouse_score, 0)
    or coalesce(cause.points_of_dossiers, 0)
    <> coalesce(explained.portal_copy_score, 0) - coalesce(explained.warehouse_score, 0)
    or coalesce(cause.change_by_dossiers, 0)
    <> explained.portal_copy_numerator - coalesce(explained.warehouse_numerator, 0)
union all
select
    behind.department_code as unit_code,
    behind.period,
    behind.indicator_code,
    behind.cause as what
from behind
inner join {{ ref('fct_service_index_cause') }} as counted
    on
        behind.department_code = counted.unit_code
        and behind.period = counted.period
        and behind.indicator_code = counted.indicator_code
        and behind.cause = counted.cause
where
    behind.numerator_change <> counted.numerator_change
    or behind.denominator_change <> counted.denominator_change
