{{
    kept_until_the_first_change(
        key='open_key', period_end='judged_date', indexes=[{'columns': ['agency_code', 'year_month']}]
    )
}}

-- The hooks read these only in incremental runs, which dbt does not see when it parses.
-- depends_on: {{ ref('int_dossiers__month') }}
-- depends_on: {{ ref('int_dossiers__month_made') }}

-- Counted dossier by dossier at each month's end, apart from form II.06a, which adds up changes: a test compares both.

with as_of as (

    select as_of_date from {{ ref('int_loads__as_of') }}

),

holding as (

    select * from {{ ref('int_dossiers__holding') }}

),

month_begin as (

    select
        generate_series(
            {{ month_of('min(holding.since_date)') }}, max(as_of.as_of_date), interval '1 month'
        )::date as first_day
    from holding
    cross join as_of

),

month_end as (

    select
        to_char(month_begin.first_day, 'YYYY-MM') as year_month,
        least((month_begin.first_day + interval '1 month')::date - 1, as_of.as_of_date) as judged_date,
        (month_begin.first_day + interval '1 month')::date - 1 <= as_of.as_of_date as is_month_over
    from month_begin
    cross join as_of
    {% if is_incremental() %}
        where
            (month_begin.first_day + interval '1 month')::date - 1
            >= {{ first_changed_month() }}
    {% endif %}

),

open_then as (

    select
        month_end.year_month,
        month_end.judged_date,
        month_end.is_month_over,
        holding.agency_code,
        holding.sector_name,
        holding.origin,
        holding.since_date,
        holding.due_date,
        exists(
            select 1
            from {{ ref('fct_dossier_status_history') }} as history
            where
                holding.dossier_key = history.dossier_key
                and {{ is_waiting_for_papers('history.status_code') }}
                and {{ is_open_at_the_end_of(
                    'month_end.judged_date', 'history.valid_from_date', 'history.valid_to_date'
                ) }}
        ) as is_waiting
    from holding
    inner join month_end
        on {{ is_open_at_the_end_of('month_end.judged_date', 'holding.since_date', 'holding.left_date') }}

)

select
    md5(concat_ws('|', year_month, agency_code, sector_name, origin)) as open_key,
    year_month,
    judged_date,
    is_month_over,
    agency_code,
    sector_name,
    count(*)::integer as open_dossiers,
    (
        count(*) filter (where {{ is_overdue_while_open('is_waiting', 'due_date', 'judged_date') }})
    )::integer as open_overdue,
    (count(*) filter (where is_waiting))::integer as waiting_for_papers,
    min(since_date) as oldest_since_date,
    origin
from open_then
group by year_month, judged_date, is_month_over, agency_code, sector_name, origin
