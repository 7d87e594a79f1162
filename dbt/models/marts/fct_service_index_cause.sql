{{ config(tags=['national']) }}

-- From our score to the published one, cause by cause: each has the points by which the score moves when it is taken
-- after those before it, so that they add up to the difference. A score without cases counts as 0 here.

with explained as (

    select * from {{ ref('fct_service_index_explained') }}
    where portal_copy_denominator is not null

),

indicator as (

    select
        indicator_code,
        max_score::numeric as max_score,
        full_at::numeric as full_at,
        nullif(score_without_cases, '')::numeric as score_without_cases
    from {{ ref('service_index_indicator') }}

),

effect as (

    select
        *,
        {{ order_of_cause('cause') }} as cause_order
    from {{ ref('int_service_index__effect_total') }}

),

running as (

    select
        explained.unit_code,
        explained.unit_name,
        explained.period,
        explained.group_code,
        explained.indicator_code,
        effect.cause,
        effect.cause_order,
        effect.dossier_count,
        effect.numerator_change,
        effect.denominator_change,
        coalesce(explained.warehouse_numerator, 0) + sum(effect.numerator_change) over in_order as numerator,
        coalesce(explained.warehouse_denominator, 0) + sum(effect.denominator_change) over in_order as denominator,
        coalesce(explained.warehouse_score, 0) as warehouse_score,
        coalesce(explained.portal_copy_score, 0) as portal_copy_score,
        explained.portal_copy_numerator + effect.numerator_cure as cured_numerator,
        explained.portal_copy_denominator + effect.denominator_cure as cured_denominator,
        explained.portal_copy_numerator,
        explained.portal_copy_denominator,
        explained.origin
    from explained
    inner join effect
        on
            explained.unit_code = effect.unit_code
            and explained.period = effect.period
            and explained.indicator_code = effect.indicator_code
    window in_order as (
        partition by explained.unit_code, explained.period, explained.indicator_code order by effect.cause_order
    )

),

scored as (

    select
        running.*,
        coalesce({{ service_index_score(
            'running.numerator',
            denominator_of_the_index('running.indicator_code', 'running.numerator', 'running.denominator'),
            'indicator.max_score', 'indicator.full_at', 'indicator.score_without_cases'
        ) }}, 0) as score_so_far,
        coalesce({{ service_index_score(
            'running.cured_numerator',
            denominator_of_the_index(
                'running.indicator_code', 'running.cured_numerator', 'running.cured_denominator'
            ),
            'indicator.max_score', 'indicator.full_at', 'indicator.score_without_cases', 6
        ) }}, 0)
        - coalesce({{ service_index_score(
            'running.portal_copy_numerator', 'running.portal_copy_denominator', 'indicator.max_score',
            'indicator.full_at', 'indicator.score_without_cases', 6
        ) }}, 0) as points_if_cured
    from running
    inner join indicator on running.indicator_code = indicator.indicator_code

),

caused as (

    select
        unit_code,
        unit_name,
        period,
        group_code,
        indicator_code,
        cause,
        cause_order,
        dossier_count,
        numerator_change,
        denominator_change,
        score_so_far
        - lag(score_so_far, 1, warehouse_score)
            over (partition by unit_code, period, indicator_code order by cause_order) as points,
        points_if_cured,
        origin
    from scored
    union all
    -- What no dossier that differs explains: the portal counted otherwise, or what, its totals do not tell.
    select
        explained.unit_code,
        explained.unit_name,
        explained.period,
        explained.group_code,
        explained.indicator_code,
        rest.cause,
        {{ order_of_cause('rest.cause') }} as cause_order,
        null as dossier_count,
        case
            when rest.cause = 'not_explained' then explained.published_numerator - explained.portal_copy_numerator
        end as numerator_change,
        case
            when rest.cause = 'not_explained' then explained.published_denominator - explained.portal_copy_denominator
        end as denominator_change,
        rest.points,
        null as points_if_cured,
        explained.origin
    from explained
    cross join
        lateral (
            values
            (
                'not_explained',
                coalesce(explained.score_of_published_totals, explained.published_score, 0)
                - coalesce(explained.portal_copy_score, 0)
            ),
            (
                'rule_or_rounding',
                coalesce(explained.published_score, explained.score_of_published_totals, 0)
                - coalesce(explained.score_of_published_totals, explained.published_score, 0)
            )
        ) as rest (cause, points)
    where explained.published_score is not null or explained.score_of_published_totals is not null

),

summed as (

    select
        *,
        sum(points_if_cured) over (partition by unit_code, period, cause) as points_if_cured_everywhere
    from caused

)

select
    unit_code,
    unit_name,
    period,
    group_code,
    indicator_code,
    cause,
    cause_order::integer as cause_order,
    dossier_count::bigint as dossier_count,
    numerator_change::numeric(18, 4) as numerator_change,
    denominator_change::numeric(18, 4) as denominator_change,
    points::numeric(6, 2) as points,
    points_if_cured::numeric(10, 6) as points_if_cured,
    points_if_cured_everywhere::numeric(10, 6) as points_if_cured_everywhere,
    case
        when points_if_cured is not null
            then
                dense_rank() over (
                    partition by unit_code, period
                    order by points_if_cured_everywhere desc nulls last, cause_order asc
                )
    end::integer as cure_rank,
    origin
from summed
