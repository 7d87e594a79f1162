{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        pre_hook='{{ delete_periods_counted_otherwise() }}',
        post_hook='{{ analyse_when_new() }}',
        indexes=[{'columns': ['period']}]
    )
}}

-- Our own totals for every indicator, unit and period of which data cover a day: month, quarter, year; each agency and
-- its province. A period is counted again where anything that decides of it changed, the passing of days included.
-- Units are responsible agencies at the receipt, as the portal's: its copy of a dossier names no other.

with period_to_count as (

    select
        counted_month,
        period,
        period_fingerprint
    from {{ ref('int_service_index__period_month') }}
    {% if is_incremental() %}
        where period not in (select made.period from {{ this }} as made)
    {% endif %}

),

period_state as (

    select distinct
        period,
        period_fingerprint
    from period_to_count

),

counted as (

    select
        counted_month,
        source_code,
        department_code,
        indicator_code,
        procedure_code,
        sum(dossier_count) filter (where outcome in ('met', 'missed')) as denominator,
        sum(dossier_count) filter (where outcome = 'met') as numerator,
        max(origin) as origin,
        max(load_number) as load_number
    from {{ ref('int_service_index__clause_month') }}
    where
        {{ is_judged_by_the_index('counted_month') }}
        {% if is_incremental() %}
            and counted_month in (select period_to_count.counted_month from period_to_count)
        {% endif %}
    group by counted_month, source_code, department_code, indicator_code, procedure_code

),

-- Of all years: each agency of each system, and what it received.
received_in_year as (

    select
        source_code,
        department_code,
        extract(year from counted_month) as counted_year,
        coalesce(sum(dossier_count) filter (where outcome in ('met', 'missed')), 0) as received,
        max(origin) as origin,
        max(load_number) as load_number
    from {{ ref('int_service_index__clause_month') }}
    where indicator_code = 'DOSSIER_SYNC'
    group by source_code, department_code, extract(year from counted_month)

),

-- No end yet: judged for each period.
open_dossier as (

    select
        counted_month,
        first_source_code as source_code,
        responsible_agency_code as department_code,
        open_limit_date,
        count(*) as dossier_count,
        max(origin) as origin,
        max(load_number) as load_number
    from {{ ref('fct_service_index_dossier') }}
    where
        open_limit_date is not null
        and {{ is_judged_by_the_index('counted_month') }}
        {% if is_incremental() %}
            and counted_month in (select period_to_count.counted_month from period_to_count)
        {% endif %}
    group by counted_month, first_source_code, responsible_agency_code, open_limit_date

),

as_of as (

    select as_of_date from {{ ref('int_loads__as_of') }}

),

covered as (

    select
        source_code,
        covered_date
    from {{ ref('int_loads__covered_day') }}

),

agency as (

    select
        agency_code,
        agency_name,
        agency_level,
        valid_from,
        valid_to
    from {{ ref('dim_agency') }}

),

indicator as (

    select
        indicator_code,
        nullif(not_counted_because, '') as not_counted_because
    from {{ ref('service_index_indicator') }}

),

month as (

    select counted_month from counted
    union
    select counted_month from open_dossier
    union
    select date_trunc('month', covered_date)::date as counted_month from covered
    where {{ is_judged_by_the_index('covered_date') }}

),

period as (

    select
        month.counted_month,
        span.period,
        span.parts_of_year,
        span.first_day,
        (span.first_day + span.length - interval '1 day')::date as last_day
    from month
    cross join
        lateral (
            {{ periods_of_the_index('month.counted_month') }}
        ) as span (period, parts_of_year, first_day, length)
    {% if is_incremental() %}
        where span.period in (select period_to_count.period from period_to_count)
    {% endif %}

),

department as (

    select distinct
        source_code,
        department_code
    from counted
    union
    select distinct
        source_code,
        department_code
    from open_dossier
    union
    select distinct
        source_code,
        department_code
    from received_in_year

),

-- An agency counts for itself and for its province; the old province and the new one are two, also where both are H20.
unit as (

    select
        source_code,
        department_code,
        department_code as unit_code,
        {{ province_root_of_agency('department_code') }} as root_code
    from department
    union
    select
        source_code,
        department_code,
        {{ province_root_of_agency('department_code') }} as unit_code,
        {{ province_root_of_agency('department_code') }} as root_code
    from department

),

-- Each cell once for its month, quarter and year, and for its agency and province.
counted_in_period as (

    select
        unit.unit_code,
        period.period,
        counted.indicator_code,
        counted.procedure_code,
        sum(counted.numerator) as numerator,
        sum(counted.denominator) as denominator,
        max(counted.origin) as origin,
        max(counted.load_number) as load_number
    from counted
    inner join period on counted.counted_month = period.counted_month
    inner join unit on counted.source_code = unit.source_code and counted.department_code = unit.department_code
    group by unit.unit_code, period.period, counted.indicator_code, counted.procedure_code

),

-- What counts procedures has one row for each of them by now, so that none need be sorted to be counted once.
summed as (

    select
        unit_code,
        period,
        indicator_code,
        case
            when max(procedure_code) is null then coalesce(sum(numerator), 0)
            else count(procedure_code) filter (where numerator > 0)
        end as numerator,
        case when max(procedure_code) is null then coalesce(sum(denominator), 0) end as denominator,
        max(origin) as origin,
        max(load_number) as load_number
    from counted_in_period
    group by unit_code, period, indicator_code

),

open_in_period as (

    select
        unit.unit_code,
        period.period,
        sum(open_dossier.dossier_count) as denominator,
        coalesce(sum(open_dossier.dossier_count) filter (
            where {{ index_is_on_time_without_end(
                'open_dossier.open_limit_date', 'period.last_day', 'as_of.as_of_date'
            ) }}
        ), 0) as numerator,
        max(open_dossier.origin) as origin,
        max(open_dossier.load_number) as load_number
    from open_dossier
    cross join as_of
    inner join period on open_dossier.counted_month = period.counted_month
    inner join unit
        on open_dossier.source_code = unit.source_code and open_dossier.department_code = unit.department_code
    group by unit.unit_code, period.period

),

total as (

    select
        coalesce(summed.unit_code, open_in_period.unit_code) as unit_code,
        coalesce(summed.period, open_in_period.period) as period,
        coalesce(summed.indicator_code, 'PROGRESS_ON_TIME') as indicator_code,
        coalesce(summed.numerator, 0) + coalesce(open_in_period.numerator, 0) as numerator,
        summed.denominator + coalesce(open_in_period.denominator, 0) as denominator,
        greatest(summed.origin, open_in_period.origin) as origin,
        greatest(summed.load_number, open_in_period.load_number) as load_number
    from summed
    left join open_in_period
        on
            summed.indicator_code = 'PROGRESS_ON_TIME'
            and summed.unit_code = open_in_period.unit_code
            and summed.period = open_in_period.period
    union all
    -- Nothing but open dossiers.
    select
        open_in_period.unit_code,
        open_in_period.period,
        'PROGRESS_ON_TIME' as indicator_code,
        open_in_period.numerator,
        open_in_period.denominator,
        open_in_period.origin,
        open_in_period.load_number
    from open_in_period
    where
        not exists (
            select 1 from summed
            where
                summed.indicator_code = 'PROGRESS_ON_TIME'
                and summed.unit_code = open_in_period.unit_code
                and summed.period = open_in_period.period
        )

),

synchronised as (

    select
        unit_code,
        period,
        numerator,
        denominator as received
    from total
    where indicator_code = 'DOSSIER_SYNC'

),

by_note as (

    select
        total.unit_code,
        total.period,
        round({{ index_times_synchronised(
            'total.numerator', 'synchronised.numerator', 'synchronised.received'
        ) }}, 4) as numerator_by_note
    from total
    inner join synchronised on total.unit_code = synchronised.unit_code and total.period = synchronised.period
    where total.indicator_code = 'ONLINE_DOSSIER_BY_NOTE'

),

covered_source_period as (

    select
        covered.source_code,
        period.period,
        period.parts_of_year,
        period.first_day,
        period.last_day,
        count(*) as covered_days
    from covered
    inner join period on date_trunc('month', covered.covered_date)::date = period.counted_month
    group by covered.source_code, period.period, period.parts_of_year, period.first_day, period.last_day

),

unit_source as (

    select distinct
        source_code,
        unit_code,
        root_code
    from unit

),

-- Days of a period that the unit's sources cover: a total of two days is no month's.
covered_period as (

    select
        unit_source.unit_code,
        unit_source.root_code,
        covered_source_period.period,
        covered_source_period.parts_of_year,
        covered_source_period.first_day,
        covered_source_period.last_day,
        min(covered_source_period.covered_days) as covered_days
    from unit_source
    inner join covered_source_period on unit_source.source_code = covered_source_period.source_code
    group by
        unit_source.unit_code,
        unit_source.root_code,
        covered_source_period.period,
        covered_source_period.parts_of_year,
        covered_source_period.first_day,
        covered_source_period.last_day

),

last_year as (

    select
        unit.unit_code,
        (received_in_year.counted_year + 1)::text as year_after,
        sum(received_in_year.received) as received,
        max(received_in_year.origin) as origin,
        max(received_in_year.load_number) as load_number
    from received_in_year
    inner join unit
        on
            received_in_year.source_code = unit.source_code
            and received_in_year.department_code = unit.department_code
    group by unit.unit_code, received_in_year.counted_year

),

held as (

    select
        unit_code,
        period,
        max(origin) as origin,
        max(load_number) as load_number
    from total
    group by unit_code, period

),

-- A unit without dossiers in a period is in it, too, while it exists and had some the year before.
unit_period as (

    select
        covered_period.*,
        coalesce(held.origin, last_year.origin) as origin,
        coalesce(held.load_number, last_year.load_number) as load_number,
        {{ index_received_or_share_of_last_year(
            'synchronised.received', 'last_year.received', 'covered_period.parts_of_year'
        ) }} as received_or_last_year,
        agency.agency_name,
        agency.agency_level
    from covered_period
    left join agency on covered_period.unit_code = agency.agency_code
    left join synchronised
        on covered_period.unit_code = synchronised.unit_code and covered_period.period = synchronised.period
    left join last_year
        on covered_period.unit_code = last_year.unit_code and left(covered_period.period, 4) = last_year.year_after
    left join held on covered_period.unit_code = held.unit_code and covered_period.period = held.period
    where
        held.unit_code is not null
        or (
            last_year.received > 0
            and (agency.valid_to is null or covered_period.first_day < agency.valid_to)
            and (agency.valid_from is null or covered_period.last_day >= agency.valid_from)
        )

)

select
    'marts.fct_dossier' as source_code,
    unit_period.period,
    unit_period.root_code as root_department_id,
    unit_period.unit_code as department_id,
    unit_period.unit_code as department_code,
    coalesce(unit_period.agency_name, unit_period.unit_code) as department_name,
    unit_period.agency_level as department_level,
    'responsible_agency' as grouped_by,
    indicator.indicator_code,
    case
        when indicator.not_counted_because is null or total.numerator is not null then coalesce(total.numerator, 0)
    end as numerator,
    case
        when indicator.not_counted_because is not null then null
        when indicator.indicator_code = 'DOSSIER_SYNC' then unit_period.received_or_last_year
        else coalesce(total.denominator, 0)
    end as denominator,
    case when indicator.indicator_code = 'ONLINE_DOSSIER' then by_note.numerator_by_note end as numerator_by_note,
    null::numeric as published_score,
    concat(
        'COVERED_', unit_period.covered_days, '_OF_', unit_period.last_day - unit_period.first_day + 1, '_DAYS'
    ) as data_quality_status,
    indicator.not_counted_because,
    unit_period.origin,
    unit_period.load_number,
    period_state.period_fingerprint
from unit_period
cross join indicator
left join total
    on
        unit_period.unit_code = total.unit_code
        and unit_period.period = total.period
        and indicator.indicator_code = total.indicator_code
left join by_note on unit_period.unit_code = by_note.unit_code and unit_period.period = by_note.period
left join period_state
    on unit_period.period = period_state.period
