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
    {% if is_incremental() %}
        where left_date is null or left_date >= {{ first_changed_month() }}
    {% endif %}

),

-- Few dossiers ever wait for papers; only for those is it asked when.
waited as (

    select distinct dossier_key
    from {{ ref('fct_dossier_status_history') }}
    where {{ is_waiting_for_papers('status_code') }}

),

-- Each month from the one in which it came to the one in which it left.
holding_month as (

    select
        holding.*,
        begun.first_day::date as first_day,
        (begun.first_day + interval '1 month')::date - 1 as last_day,
        as_of.as_of_date
    from holding
    cross join as_of
    cross join
        lateral generate_series(
            {% if is_incremental() %}
                date_trunc('month', greatest(holding.since_date, {{ first_changed_month() }})::timestamp),
            {% else %}
                date_trunc('month', holding.since_date::timestamp),
            {% endif %}
            least(holding.left_date, as_of.as_of_date)::timestamp,
            interval '1 month'
        ) as begun (first_day)

),

judged as (

    select
        *,
        to_char(first_day, 'YYYY-MM') as year_month,
        least(last_day, as_of_date) as judged_date,
        last_day <= as_of_date as is_month_over
    from holding_month

),

open_then as (

    select
        judged.*,
        case
            when waited.dossier_key is null then false
            else exists (
                select 1
                from {{ ref('fct_dossier_status_history') }} as history
                where
                    judged.dossier_key = history.dossier_key
                    and {{ is_waiting_for_papers('history.status_code') }}
                    and {{ is_open_at_the_end_of(
                        'judged.judged_date', 'history.valid_from_date', 'history.valid_to_date'
                    ) }}
            )
        end as is_waiting
    from judged
    left join waited on judged.dossier_key = waited.dossier_key
    where {{ is_open_at_the_end_of('judged.judged_date', 'judged.since_date', 'judged.left_date') }}

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
