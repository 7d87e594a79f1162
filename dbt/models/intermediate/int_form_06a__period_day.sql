{{ config(materialized='table') }}

-- Every day from the first dossier on stands in six periods: a month, a quarter and a year, by the calendar and by
-- administrative closing.

with as_of as (

    select as_of_date from {{ ref('int_loads__as_of') }}

),

first_dossier as (

    select min(event_date) as first_date from {{ ref('int_form_06a__daily') }}

),

covered as (

    select distinct loaded.covered_date
    from {{ ref('int_loads__covered_day') }} as loaded
    where loaded.source_code in (select record.source_code from {{ ref('int_dossiers__record') }} as record)

),

kind as (

    select
        period_kind.period_kind,
        closing.closing
    from (values ('month'), ('quarter'), ('year')) as period_kind (period_kind)
    cross join (values ('calendar'), ('administrative')) as closing (closing)

),

-- Not of the calendar of working days: dossiers may be older than the first day for which holidays are known.
day as (

    select generate_series(first_dossier.first_date, as_of.as_of_date, interval '1 day')::date as date_day
    from as_of
    cross join first_dossier

),

named as (

    select
        kind.period_kind,
        kind.closing,
        day.date_day,
        as_of.as_of_date,
        {{ nominal_period_start('day.date_day', 'kind.period_kind', 'kind.closing') }} as nominal_start
    from day
    cross join kind
    cross join as_of

)

select
    named.period_kind,
    named.closing,
    {{ period_label('named.nominal_start', 'named.period_kind') }} as period,
    {{ period_first_day('named.nominal_start', 'named.closing') }} as period_start,
    {{ period_last_day('named.nominal_start', 'named.period_kind', 'named.closing') }} as period_end,
    least(
        named.as_of_date, {{ period_last_day('named.nominal_start', 'named.period_kind', 'named.closing') }}
    ) as judged_date,
    named.date_day,
    covered.covered_date is not null as is_covered
from named
left join covered on named.date_day = covered.covered_date
