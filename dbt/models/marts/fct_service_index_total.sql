{{ config(tags=['national']) }}

-- What lacks a source is no 0: the points that could be computed stand beside the total.

with score as (

    select * from {{ ref('fct_service_index_score') }}

),

indicator as (

    select sum(max_score::numeric) as max_score from {{ ref('service_index_indicator') }}

)

select
    score.counted_by,
    score.source_code,
    score.period,
    score.root_department_id,
    score.department_id,
    max(score.department_code) as department_code,
    max(score.department_name) as department_name,
    max(score.department_level) as department_level,
    max(score.grouped_by) as grouped_by,
    sum(score.score)::numeric(6, 2) as score,
    coalesce(sum(score.max_score) filter (where score.score is not null), 0)::numeric(6, 2) as computable_score,
    max(indicator.max_score)::numeric(6, 2) as max_score,
    count(*) filter (where score.score is null)::integer as null_indicator_count,
    trim_scale(coalesce(sum(score.max_score) filter (where score.score is not null), 0)) || ' of '
    || trim_scale(max(indicator.max_score)) || ' points computable' as computable,
    score.origin
from score
cross join indicator
group by
    score.counted_by,
    score.source_code,
    score.period,
    score.root_department_id,
    score.department_id,
    score.origin
