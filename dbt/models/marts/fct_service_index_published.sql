{{ config(tags=['national']) }}

-- Each score the portal published, of an indicator, a group or the whole, and whether it follows from the totals it
-- published.

with evaluation as (

    select * from {{ ref('stg_national_portal__evaluation') }}
    where score is not null

),

indicator as (

    select
        indicator_code,
        group_code
    from {{ ref('service_index_indicator') }}

),

score as (

    select * from {{ ref('fct_service_index_score') }}
    where counted_by = 'portal'

),

of_indicators as (

    select
        source_code,
        period,
        root_department_id,
        department_id,
        department_name,
        indicator_code as score_code,
        published_score,
        score as score_of_totals,
        numerator is not null and denominator is not null as has_totals,
        origin
    from score
    where published_score is not null

),

-- A group's points are those of its indicators; with one of them unknown nothing follows.
group_of_totals as (

    select
        score.source_code,
        score.period,
        score.root_department_id,
        score.department_id,
        score.group_code,
        sum(score.score) as score_of_totals,
        count(*) filter (where score.numerator is not null and score.denominator is not null) as known_count
    from score
    group by score.source_code, score.period, score.root_department_id, score.department_id, score.group_code

),

size_of_group as (

    select
        group_code,
        count(*) as indicator_count
    from indicator
    group by group_code

),

of_groups as (

    select
        evaluation.source_code,
        evaluation.period,
        evaluation.root_department_id,
        evaluation.department_id,
        evaluation.department_name,
        evaluation.metric_code as score_code,
        evaluation.score as published_score,
        case when group_of_totals.known_count = size_of_group.indicator_count then group_of_totals.score_of_totals end
            as score_of_totals,
        coalesce(group_of_totals.known_count = size_of_group.indicator_count, false) as has_totals,
        evaluation.origin
    from evaluation
    inner join size_of_group on evaluation.metric_code = size_of_group.group_code
    left join group_of_totals
        on
            evaluation.source_code = group_of_totals.source_code
            and evaluation.period = group_of_totals.period
            and evaluation.root_department_id = group_of_totals.root_department_id
            and evaluation.department_id = group_of_totals.department_id
            and evaluation.metric_code = group_of_totals.group_code
    -- Progress is a group of one indicator, and stands above.
    where evaluation.endpoint <> 'dvc-progress-tree'

),

-- The whole of a ranking is the sum of its groups; that of a list of indicators the sum of these.
part as (

    select
        source_code,
        endpoint,
        period,
        root_department_id,
        department_id,
        sum(score) as score_of_totals
    from evaluation
    where metric_code <> 'TOTAL'
    group by source_code, endpoint, period, root_department_id, department_id

),

of_totals as (

    select
        evaluation.source_code,
        evaluation.period,
        evaluation.root_department_id,
        evaluation.department_id,
        evaluation.department_name,
        concat(evaluation.endpoint, '/TOTAL') as score_code,
        evaluation.score as published_score,
        part.score_of_totals,
        part.score_of_totals is not null as has_totals,
        evaluation.origin
    from evaluation
    left join part
        on
            evaluation.source_code = part.source_code
            and evaluation.endpoint = part.endpoint
            and evaluation.period = part.period
            and evaluation.root_department_id = part.root_department_id
            and evaluation.department_id = part.department_id
    where evaluation.metric_code = 'TOTAL'

),

combined as (

    select * from of_indicators
    union all
    select * from of_groups
    union all
    select * from of_totals

)

select
    source_code,
    period,
    root_department_id,
    department_id,
    department_name,
    score_code,
    published_score::numeric(6, 2) as published_score,
    score_of_totals::numeric(6, 2) as score_of_totals,
    (score_of_totals - published_score)::numeric(6, 2) as difference,
    case
        when not has_totals then 'totals_not_published'
        when round(score_of_totals, 2) = round(published_score, 2) then 'reproduced'
        else 'not_reproduced'
    end as verdict,
    origin
from combined
