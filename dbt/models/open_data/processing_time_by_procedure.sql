{{ kept_by_month(months='int_dossiers__event_quarter', month_made=first_day_of_quarter('year_quarter')) }}

-- The hooks read these only in incremental runs, which dbt does not see when it parses.
-- depends_on: {{ ref('int_dossiers__event_quarter') }}
-- depends_on: {{ ref('int_dossiers__month_made') }}

-- Working days from receipt to the end, of the dossiers resolved in a quarter. Procedures outside the fixed list are
-- pooled within their sector, so that a rare one points at nobody.
with resolved as (

    select
        happened.year_quarter,
        happened.sector_group,
        coalesce(reported_procedure.procedure_code, 'other') as procedure_code,
        case
            when reported_procedure.procedure_code is null then 'Các thủ tục khác'
            else coalesce(catalogue.procedure_name, reported_procedure.procedure_code)
        end as procedure_name,
        finished.working_day_number - begun.working_day_number as working_days,
        happened.origin
    from {{ ref('int_dossiers__event') }} as happened
    left join {{ ref('reported_procedure') }} as reported_procedure
        on happened.procedure_code = reported_procedure.procedure_code
    left join {{ ref('dim_procedure') }} as catalogue
        on reported_procedure.procedure_code = catalogue.procedure_code
    left join {{ ref('dim_date') }} as begun on happened.received_date = begun.date_day
    left join {{ ref('dim_date') }} as finished on happened.completed_date = finished.date_day
    where
        happened.event_kind <> 'received'
        and {{ is_in_a_changed_month('happened.event_date', 'int_dossiers__event_quarter', 3) }}

),

in_bands as (

    select
        year_quarter,
        sector_group,
        procedure_code,
        procedure_name,
        origin,
        case
            when working_days = 0 then '00'
            when working_days between 1 and 2 then '01-02'
            when working_days between 3 and 5 then '03-05'
            when working_days between 6 and 10 then '06-10'
            when working_days between 11 and 20 then '11-20'
            when working_days > 20 then '21+'
            else 'unknown'
        end as working_days
    from resolved

)

select
    in_bands.year_quarter,
    in_bands.sector_group,
    in_bands.procedure_code,
    in_bands.procedure_name,
    in_bands.working_days,
    covered_quarter.is_provisional,
    in_bands.origin,
    count(*)::integer as resolved
from in_bands
inner join {{ ref('int_loads__covered_quarter') }} as covered_quarter
    on in_bands.year_quarter = covered_quarter.year_quarter
group by
    in_bands.year_quarter, in_bands.sector_group, in_bands.procedure_code, in_bands.procedure_name,
    in_bands.working_days, covered_quarter.is_provisional, in_bands.origin
