{{ config(materialized='table') }}

-- The events of a month in one word, as int_dossiers__month has the dossiers received in it: a dossier of one month may
-- be resolved in another. `received_month` is what macros of kept models call the month; here it is that of the event.

with happened as (

    select
        event_month,
        sum(event_count) as event_count,
        sum(event_sum) as event_sum
    from {{ ref('int_dossiers__happened_month') }}
    group by event_month

),

covered as (

    select
        {{ month_of('covered_date') }} as event_month,
        string_agg(source_code || covered_date, ',' order by source_code, covered_date) as covered_days
    from {{ ref('int_loads__covered_day') }}
    group by {{ month_of('covered_date') }}

)

select
    happened.event_month as received_month,
    md5(concat_ws('|', happened.event_count, happened.event_sum, covered.covered_days)) as month_fingerprint
from happened
left join covered on happened.event_month = covered.event_month
