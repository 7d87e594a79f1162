-- Totals of what the national portal holds: ours, changed by every difference that stands, for the periods of which its
-- operator's file told some days. What differs is judged by the same clauses as ours, so this is what the portal would
-- count, did it count as its note says. Of how many services or procedures, it alone knows: where it published that.

with ours as (

    select * from {{ ref('int_service_index__counted_total') }}
    where not_counted_because is null or {{ is_of_procedures('indicator_code') }}

),

effect as (

    select
        unit_code,
        root_department_code,
        period,
        indicator_code,
        sum(numerator_change) as numerator_change,
        sum(denominator_change) as denominator_change
    from {{ ref('int_service_index__effect_total') }}
    group by unit_code, root_department_code, period, indicator_code

),

compared_day as (

    select
        covered.midnight::date as compared_date,
        max(comparison.compared_at) as compared_at
    from {{ ref('stg_national__comparison') }} as comparison
    cross join
        lateral generate_series(comparison.first_day, comparison.last_day, interval '1 day') as covered (midnight)
    where comparison.told_by = 'export'
    group by covered.midnight

),

compared_period as (

    select
        span.period,
        count(*) as compared_days,
        max(span.last_day)
        - min(case span.period_kind
            when 'month' then date_trunc('month', compared_day.compared_date)
            when 'quarter' then date_trunc('quarter', compared_day.compared_date)
            else date_trunc('year', compared_day.compared_date)
        end)::date + 1 as day_count,
        max(compared_day.compared_at) as compared_at
    from compared_day
    cross join
        lateral (
            {{ periods_of_month("date_trunc('month', compared_day.compared_date)::date") }}
        ) as span (period_kind, period, last_day)
    group by span.period

),

-- Some of the portal's answers name a unit by its identifier alone.
published as (

    select distinct on (unit_code, period, indicator_code)
        unit_code,
        period,
        indicator_code,
        denominator
    from (
        select
            *,
            coalesce(max(department_code) over (partition by department_id), department_id) as unit_code
        from {{ ref('int_service_index__published_total') }}
    ) as named
    where {{ is_of_procedures('indicator_code') }} and denominator is not null
    order by
        unit_code asc,
        period asc,
        indicator_code asc,
        captured_at desc,
        source_code asc,
        root_department_id asc

),

origin as (

    select
        max(origin) as origin,
        max(load_number) as load_number
    from ours

),

agency as (

    select
        agency_code,
        agency_name,
        agency_level
    from {{ ref('dim_agency') }}

),

combined as (

    select
        coalesce(ours.department_code, effect.unit_code) as unit_code,
        coalesce(ours.root_department_id, effect.root_department_code) as root_code,
        coalesce(ours.period, effect.period) as period,
        coalesce(ours.indicator_code, effect.indicator_code) as indicator_code,
        ours.department_name,
        ours.department_level,
        coalesce(ours.numerator, 0) + coalesce(effect.numerator_change, 0) as numerator,
        coalesce(ours.denominator, 0) + coalesce(effect.denominator_change, 0) as denominator
    from ours
    full join effect
        on
            ours.department_code = effect.unit_code
            and ours.period = effect.period
            and ours.indicator_code = effect.indicator_code

),

counted as (

    select
        combined.*,
        case
            when {{ is_of_procedures('combined.indicator_code') }} then published.denominator
            else {{ denominator_of_the_index('combined.indicator_code', 'combined.numerator', 'combined.denominator') }}
        end as denominator_there
    from combined
    left join published
        on
            combined.unit_code = published.unit_code
            and combined.period = published.period
            and combined.indicator_code = published.indicator_code

)

select
    'national.difference' as source_code,
    counted.period,
    counted.root_code as root_department_id,
    counted.unit_code as department_id,
    counted.unit_code as department_code,
    coalesce(counted.department_name, agency.agency_name, counted.unit_code) as department_name,
    coalesce(counted.department_level, agency.agency_level) as department_level,
    'responsible_agency' as grouped_by,
    counted.indicator_code,
    counted.numerator,
    counted.denominator_there as denominator,
    concat('COMPARED_', compared_period.compared_days, '_OF_', compared_period.day_count, '_DAYS')
        as data_quality_status,
    compared_period.compared_at as captured_at,
    origin.origin,
    origin.load_number
from counted
inner join compared_period on counted.period = compared_period.period
cross join origin
left join agency on counted.unit_code = agency.agency_code
where
    counted.denominator_there is not null
    and counted.indicator_code
    in (select indicator.indicator_code from {{ ref('service_index_indicator') }} as indicator)
