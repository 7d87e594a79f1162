-- Of indicators that count procedures (3.2, 3.5): how many of its dossiers make a procedure count. One is enough.
select
    unit.unit_code,
    span.period,
    counted.indicator_code,
    counted.procedure_code,
    sum(counted.dossier_count) as met_count
from {{ ref('int_service_index__clause_month') }} as counted
cross join
    lateral (
        {{ periods_of_month('counted.counted_month') }}
    ) as span (period_kind, period, last_day)
cross join
    lateral (
        values
        (counted.department_code),
        (nullif({{ province_root_of_agency('counted.department_code') }}, counted.department_code))
    ) as unit (unit_code)
where
    unit.unit_code is not null
    and counted.procedure_code is not null
    and counted.outcome = 'met'
    and {{ is_judged_by_the_index('counted.counted_month') }}
group by unit.unit_code, span.period, counted.indicator_code, counted.procedure_code
