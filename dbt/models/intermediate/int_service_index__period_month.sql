{{ config(materialized='table') }}

-- All that decides of a period's totals, in one word: its months and, where a unit received nothing, those of the year
-- before; the days that loads cover, and the last of them for what is open; who is a unit, and what is counted.
with month_state as (

    select
        received_month as counted_month,
        month_fingerprint
    from {{ ref('int_service_index__month') }}

),

covered as (

    select
        {{ month_of('covered_date') }} as counted_month,
        string_agg(source_code || covered_date, ',' order by source_code, covered_date) as covered_days
    from {{ ref('int_loads__covered_day') }}
    group by {{ month_of('covered_date') }}

),

as_of as (

    select as_of_date from {{ ref('int_loads__as_of') }}

),

-- Every dossier is counted or left out by DOSSIER_SYNC: here stands each agency of each system.
department as (

    select distinct
        source_code,
        department_code
    from {{ ref('int_service_index__clause_month') }}
    where indicator_code = 'DOSSIER_SYNC'

),

list as (

    select
        (
            select md5(string_agg(department::text, ',' order by department.source_code, department.department_code))
            from department
        ) as departments,
        (
            select
                md5(string_agg(
                    concat_ws(
                        '|', agency.agency_code, agency.agency_name, agency.agency_level, agency.valid_from::text, '-',
                        agency.valid_to
                    ), ',' order by agency.agency_code
                ))
            from {{ ref('dim_agency') }} as agency
        ) as agencies,
        (
            select md5(string_agg(indicator::text, ',' order by indicator.indicator_code))
            from {{ ref('service_index_indicator') }} as indicator
        ) as indicators

),

known_month as (

    select counted_month from month_state
    where {{ is_judged_by_the_index('counted_month') }}
    union
    select counted_month from covered
    where {{ is_judged_by_the_index('counted_month') }}

),

period as (

    select
        known_month.counted_month,
        span.period,
        (span.first_day + span.length - interval '1 day')::date as last_day
    from known_month
    cross join
        lateral (
            {{ periods_of_the_index('known_month.counted_month') }}
        ) as span (period, parts_of_year, first_day, length)

),

year_state as (

    select
        extract(year from counted_month) as counted_year,
        md5(string_agg(month_fingerprint, ',' order by counted_month)) as year_checksum
    from month_state
    group by extract(year from counted_month)

),

period_state as (

    select
        period.period,
        md5(concat_ws(
            '|',
            string_agg(concat(month_state.month_fingerprint, covered.covered_days), ',' order by period.counted_month),
            max(year_state.year_checksum),
            least(max(period.last_day), max(as_of.as_of_date)), max(list.departments), max(list.agencies),
            max(list.indicators)
        )) as period_fingerprint
    from period
    cross join as_of
    cross join list
    left join month_state on period.counted_month = month_state.counted_month
    left join covered on period.counted_month = covered.counted_month
    left join year_state on extract(year from period.counted_month) = year_state.counted_year + 1
    group by period.period

)

select
    period.counted_month,
    period.period,
    period_state.period_fingerprint
from period
inner join period_state on period.period = period_state.period
