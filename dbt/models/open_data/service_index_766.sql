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
    -- a period that had not ended when the portal answered
    {{ local_date('captured_at') }} <= case
        when period ~ '^[0-9]{4}$' then (period || '-12-31')::date
        when period ~ '^[0-9]{4}-Q[1-4]$'
            then (
                left(period, 4)::integer * interval '1 year' + right(period, 1)::integer * interval '3 months'
                + date '0001-01-01' - interval '1 year' - interval '1 day'
            )::date
        when period ~ '^[0-9]{4}-[0-9]{2}$'
            then ((period || '-01')::date + interval '1 month' - interval '1 day')::date
        else split_part(period, '/', 2)::date
    end as is_provisional,
    origin
from {{ ref('stg_national_portal__evaluation') }}
