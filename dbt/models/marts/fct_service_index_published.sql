{{ config(tags=['national']) }}

-- Each score the portal published, of an indicator, a group or the whole, and whether it follows from the totals it
-- published; if not, why not, and what is lacking.

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
        case when numerator is null or denominator is null then indicator_code end as lacking_codes,
        data_quality_status,
        origin
    from score
    where published_score is not null

),

-- The portal's radar counts online services and online payment as one.
group_indicator as (

    select
        group_code as score_code,
        indicator_code
    from indicator
    union all
    select
        'ONLINE_SERVICE' as score_code,
        indicator_code
    from indicator
    where group_code in ('CLGQ', 'TTTT')

),

-- A group's points are those of its indicators; with one of them unknown nothing follows.
of_groups as (

    select
        evaluation.source_code,
        evaluation.period,
        evaluation.root_department_id,
        evaluation.department_id,
        max(evaluation.department_name) as department_name,
        evaluation.metric_code as score_code,
        max(evaluation.score) as published_score,
        sum(score.score) as score_of_totals,
        string_agg(group_indicator.indicator_code, ', ' order by group_indicator.indicator_code) filter (
            where score.numerator is null or score.denominator is null
        ) as lacking_codes,
        max(score.data_quality_status) as data_quality_status,
        max(evaluation.origin) as origin
    from evaluation
    inner join group_indicator on evaluation.metric_code = group_indicator.score_code
    left join score
        on
            evaluation.source_code = score.source_code
            and evaluation.period = score.period
            and evaluation.root_department_id = score.root_department_id
            and evaluation.department_id = score.department_id
            and group_indicator.indicator_code = score.indicator_code
    -- Progress is a group of one indicator, and stands above.
    where evaluation.endpoint <> 'dvc-progress-tree'
    group by
        evaluation.source_code,
        evaluation.endpoint,
        evaluation.period,
        evaluation.root_department_id,
        evaluation.department_id,
        evaluation.metric_code

),

-- The whole of a ranking is the sum of its groups; that of a list of indicators the sum of these.
part as (

    select
        source_code,
        endpoint,
        period,
        root_department_id,
        department_id,
        sum(score) as score_of_totals,
        max(data_quality_status) as data_quality_status
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
        case when part.score_of_totals is null then 'parts' end as lacking_codes,
        part.data_quality_status,
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

),

judged as (

    select
        *,
        case
            when lacking_codes is not null then 'totals_not_published'
            when round(score_of_totals, 2) = round(published_score, 2) then 'reproduced'
            else 'not_reproduced'
        end as verdict
    from combined

)

select
    source_code,
    period,
    root_department_id,
    department_id,
    department_name,
    score_code,
    published_score::numeric(6, 2) as published_score,
    case when lacking_codes is null then score_of_totals end::numeric(6, 2) as score_of_totals,
    case when lacking_codes is null then score_of_totals - published_score end::numeric(6, 2) as difference,
    verdict,
    case
        when verdict = 'not_reproduced' then 'another_rule_or_rounding'
        when verdict = 'totals_not_published' then concat('no_totals_of: ', lacking_codes)
        -- It follows from totals that the portal itself calls provisional.
        when data_quality_status is not null then concat('provisional: ', data_quality_status)
    end as reason,
    origin
from judged
