{{ config(materialized='table') }}

-- A month's dossiers in one word, which is another one as soon as any of them, its steps, papers or fees were changed,
-- joined or taken back: each such change gives the dossier another load, record or number of records. What else
-- decides of a month stands in it, too: days that loads cover, the last of them, decisions on handovers, areas, units
-- (seeds alone decide of nothing here: when one changed, all is made anew).

with as_of as (

    select as_of_date from {{ ref('int_loads__as_of') }}

),

dossier as (

    select
        {{ month_of('received_date') }} as received_month,
        count(*) as dossier_count,
        sum(hash_record_extended(row(dossier_key, source_code, dossier_id, record_count, load_number), 0))
            as dossier_sum
    from {{ ref('fct_dossier') }}
    where received_date is not null
    group by {{ month_of('received_date') }}

),

covered as (

    select
        {{ month_of('covered_date') }} as received_month,
        string_agg(source_code || covered_date, ',' order by source_code, covered_date) as covered_days
    from {{ ref('int_loads__covered_day') }}
    group by {{ month_of('covered_date') }}

),

list as (

    select
        {{ fingerprint_of_decisions() }} as decisions,
        (
            select md5(string_agg(area.member_key || area.area_code || area.area_name, ',' order by area.member_key))
            from {{ ref('dim_comparable_area') }} as area
        ) as areas,
        (
            select
                md5(
                    string_agg(concat_ws('|', unit.unit_key, unit.unit_name, unit.valid_to), ',' order by unit.unit_key)
                )
            from {{ ref('int_administrative_units__listed') }} as unit
        ) as units

),

known_month as (

    select received_month from dossier
    union
    select received_month from covered

)

select
    known_month.received_month,
    coalesce(dossier.dossier_count, 0) as dossier_count,
    md5(concat_ws(
        '|', dossier.dossier_count, dossier.dossier_sum, covered.covered_days,
        case when known_month.received_month = {{ month_of('as_of.as_of_date') }} then as_of.as_of_date end,
        list.decisions, list.areas, list.units
    )) as month_fingerprint
from known_month
cross join as_of
cross join list
left join dossier on known_month.received_month = dossier.received_month
left join covered on known_month.received_month = covered.received_month
