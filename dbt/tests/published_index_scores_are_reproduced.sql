-- QĐ 766: the portal's own points follow from its totals to the last digit.
select
    source_code,
    period,
    department_id,
    indicator_code,
    score,
    published_score
from {{ ref('fct_service_index_score') }}
where
    counted_by = 'portal' and origin = 'real'
    and published_score is not null and denominator is not null
    and difference is distinct from 0
