{{ config(tags=['national']) }}

-- Three values side by side: from our dossiers, from what the portal holds, as published. Of indicators that count
-- procedures ours are shared by what the portal has published as their number, which it alone knows.

with score as (

    select * from {{ ref('fct_service_index_score') }}

),

-- Some of the portal's answers name a unit by its identifier alone.
unit as (

    select
        department_id,
        max(department_code) as department_code
    from score
    where counted_by = 'portal'
    group by department_id

),

published as (

    select distinct on (coalesce(unit.department_code, score.department_id), score.period, score.indicator_code)
        coalesce(unit.department_code, score.department_id) as unit_code,
        score.*
    from score
    inner join unit on score.department_id = unit.department_id
    where score.counted_by = 'portal'
    order by
        coalesce(unit.department_code, score.department_id) asc,
        score.period asc,
        score.indicator_code asc,
        score.captured_at desc,
        score.source_code asc,
        score.root_department_id asc
),

of_warehouse as (

    select
        score.*,
        case when {{ is_of_procedures('score.indicator_code') }} then published.denominator else score.denominator end
            as denominator_used
    from score
    left join published
        on
            score.department_code = published.unit_code
            and score.period = published.period
            and score.indicator_code = published.indicator_code
    where score.counted_by = 'warehouse'

),

warehouse as (

    select
        *,
        case
            when {{ is_of_procedures('indicator_code') }}
                then {{ service_index_score(
                    'coalesce(numerator, 0)', 'denominator_used', 'max_score', 'full_at', 'score_without_cases'
                ) }}
            else score
        end as score_used
    from of_warehouse

),

portal_copy as (

    select * from score
    where counted_by = 'portal_copy'

),

indicator as (

    select
        indicator_code,
        indicator_no,
        indicator_name_vi
    from {{ ref('service_index_indicator') }}

),

cell as (

    select
        unit_code,
        period,
        indicator_code
    from published
    union
    select
        department_code as unit_code,
        period,
        indicator_code
    from warehouse
    union
    select
        department_code as unit_code,
        period,
        indicator_code
    from portal_copy

)

select
    cell.unit_code,
    coalesce(warehouse.department_name, portal_copy.department_name, published.department_name) as unit_name,
    cell.period,
    coalesce(warehouse.group_code, portal_copy.group_code, published.group_code) as group_code,
    cell.indicator_code,
    indicator.indicator_no::text as indicator_no,
    indicator.indicator_name_vi as indicator_name,
    coalesce(warehouse.max_score, portal_copy.max_score, published.max_score) as max_score,

    -- from our dossiers
    warehouse.numerator as warehouse_numerator,
    warehouse.denominator_used as warehouse_denominator,
    warehouse.score_used as warehouse_score,
    case when warehouse.score_used is null then warehouse.null_reason end as warehouse_null_reason,

    -- from what the portal holds
    portal_copy.numerator as portal_copy_numerator,
    portal_copy.denominator as portal_copy_denominator,
    portal_copy.score as portal_copy_score,

    -- as published, and what follows from the published totals
    published.numerator as published_numerator,
    published.denominator as published_denominator,
    published.published_score,
    published.score as score_of_published_totals,

    -- what explains the difference
    (coalesce(published.published_score, published.score) - warehouse.score_used)::numeric(6, 2) as difference,
    (portal_copy.score - warehouse.score_used)::numeric(6, 2) as explained_by_dossiers,
    (published.score - portal_copy.score)::numeric(6, 2) as not_explained,
    (published.published_score - published.score)::numeric(6, 2) as rule_or_rounding,
    warehouse.data_quality_status as warehouse_coverage,
    portal_copy.data_quality_status as portal_copy_coverage,
    published.data_quality_status as published_data_quality_status,
    {{ not_predicted_because('cell.indicator_code', 'published.denominator') }} as not_predicted_because,
    greatest(warehouse.origin, portal_copy.origin, published.origin) as origin
from cell
inner join indicator on cell.indicator_code = indicator.indicator_code
left join warehouse
    on
        cell.unit_code = warehouse.department_code
        and cell.period = warehouse.period
        and cell.indicator_code = warehouse.indicator_code
left join portal_copy
    on
        cell.unit_code = portal_copy.department_code
        and cell.period = portal_copy.period
        and cell.indicator_code = portal_copy.indicator_code
left join published
    on
        cell.unit_code = published.unit_code
        and cell.period = published.period
        and cell.indicator_code = published.indicator_code
