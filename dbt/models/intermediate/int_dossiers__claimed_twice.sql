{{ config(materialized='table') }}

with claimed as (

    select dossier_code
    from {{ ref('int_dossiers__record') }}
    group by dossier_code
    having count(*) > 1

),

dossier as (

    select
        fact.dossier_key,
        fact.dossier_code,
        {{ month_of('fact.received_date') }} as received_month,
        count(*) over (partition by fact.dossier_code) as dossier_count
    from claimed
    inner join {{ ref('int_dossiers__record') }} as record on claimed.dossier_code = record.dossier_code
    -- A record that another system's record continues is no dossier of its own.
    inner join {{ ref('fct_dossier') }} as fact
        on record.source_code = fact.source_code and record.dossier_id = fact.dossier_id

)

select
    dossier_key,
    dossier_code,
    received_month
from dossier
where dossier_count > 1
