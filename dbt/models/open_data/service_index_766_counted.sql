-- What our own dossiers give for the province as a whole; agencies below it are not in open data.
select
    period,
    root_department_id as province_agency_code,
    group_code,
    indicator_code,
    numerator,
    denominator,
    ratio,
    score,
    max_score,
    null_reason,
    origin,
    period = any(array[
        (select max(to_char(covered_date, 'YYYY')) from {{ ref('int_loads__covered_day') }}),
        (select max(to_char(covered_date, 'YYYY-"Q"Q')) from {{ ref('int_loads__covered_day') }}),
        (select max(to_char(covered_date, 'YYYY-MM')) from {{ ref('int_loads__covered_day') }})
    ]) as is_provisional
from {{ ref('fct_service_index_score') }}
where counted_by = 'warehouse' and department_id = root_department_id
