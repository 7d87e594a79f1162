-- As the portal published it: nothing is computed, rounded or filled in.

select
    period,
    endpoint,
    root_department_id,
    department_id,
    department_code,
    department_name,
    metric_code,
    metric_name,
    numerator,
    denominator,
    ratio,
    score,
    max_score,
    data_quality_status,
    captured_at,
    origin
from {{ ref('stg_national_portal__evaluation') }}
