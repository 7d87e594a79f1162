-- Of the newest month that has dossiers, for every agency and province: what the index counted is what
-- service_index_trace lists, to the last dossier. Every period is compared in tests/ops/test_roles.py; here the history
-- would make each build longer.
with newest as (

    select max(received_month) as counted_month from {{ ref('int_service_index__month') }}

),

trace as (

    select *
    from {{ ref('service_index_trace') }}
    where period_kind = 'month' and counted_month = (select newest.counted_month from newest)

),

by_unit as (

    select
        responsible_agency_code as unit_code,
        *
    from trace
    union all
    select
        root_department_code as unit_code,
        *
    from trace
    where root_department_code <> responsible_agency_code

),

listed as (

    select
        unit_code,
        period,
        indicator_code,
        case
            when bool_or(counts_procedures) then count(distinct procedure_code) filter (where is_in_numerator)
            else count(*) filter (where is_in_numerator)
        end as numerator,
        count(*) filter (where is_in_denominator) as denominator
    from by_unit
    group by unit_code, period, indicator_code

),

counted as (

    select
        counted_total.department_code as unit_code,
        counted_total.period,
        counted_total.indicator_code,
        counted_total.numerator,
        -- Where nothing was received, a share of last year's total stands in, which no dossier of the period makes.
        case
            when counted_total.indicator_code <> 'DOSSIER_SYNC' or listed.denominator > 0
                then counted_total.denominator
        end as denominator,
        coalesce(listed.numerator, 0) as listed_numerator,
        coalesce(listed.denominator, 0) as listed_denominator
    from {{ ref('int_service_index__counted_total') }} as counted_total
    inner join newest on counted_total.period = to_char(newest.counted_month, 'YYYY-MM')
    left join listed
        on
            counted_total.department_code = listed.unit_code
            and counted_total.period = listed.period
            and counted_total.indicator_code = listed.indicator_code
    where counted_total.not_counted_because is null or counted_total.numerator is not null

)

select * from counted
where numerator <> listed_numerator or denominator <> listed_denominator
