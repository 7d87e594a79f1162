{{ config(tags=['national']) }}

-- One model gives the points, whoever counted: totals of another counter join as one more union.

with as_of as (

    select as_of_date from {{ ref('int_loads__as_of') }}

),

total as (

    select
        'portal' as counted_by,
        source_code,
        period,
        root_department_id,
        department_id,
        department_code,
        department_name,
        null as department_level,
        'as_published' as grouped_by,
        indicator_code,
        numerator,
        denominator,
        null::numeric as numerator_by_note,
        published_score,
        data_quality_status,
        null as not_counted_because,
        captured_at,
        origin,
        load_number
    from {{ ref('int_service_index__published_total') }}
    union all
    select
        'warehouse' as counted_by,
        source_code,
        period,
        root_department_id,
        department_id,
        department_code,
        department_name,
        department_level,
        grouped_by,
        indicator_code,
        numerator,
        denominator,
        numerator_by_note,
        published_score,
        data_quality_status,
        not_counted_because,
        (as_of.as_of_date + 1)::timestamp at time zone '{{ var("business_time_zone") }}' as captured_at,
        origin,
        load_number
    from {{ ref('int_service_index__counted_total') }}
    cross join as_of
    union all
    select
        'portal_copy' as counted_by,
        source_code,
        period,
        root_department_id,
        department_id,
        department_code,
        department_name,
        department_level,
        grouped_by,
        indicator_code,
        numerator,
        denominator,
        null::numeric as numerator_by_note,
        null::numeric as published_score,
        data_quality_status,
        null as not_counted_because,
        captured_at,
        origin,
        load_number
    from {{ ref('int_service_index__held_total') }}

),

indicator as (

    select
        indicator_code,
        group_code,
        max_score::numeric as max_score,
        full_at::numeric as full_at,
        nullif(score_without_cases, '')::numeric as score_without_cases,
        coalesce(nullif(full_at_in_note, ''), full_at)::numeric as full_at_in_note,
        nullif(note_disagreement, '') as note_disagreement
    from {{ ref('service_index_indicator') }}

),

scored as (

    select
        total.*,
        indicator.group_code,
        indicator.max_score,
        indicator.full_at,
        indicator.score_without_cases,
        indicator.note_disagreement,
        round(total.numerator / nullif(total.denominator, 0), 6) as ratio,
        {{ service_index_score(
            'total.numerator', 'total.denominator', 'indicator.max_score', 'indicator.full_at',
            'indicator.score_without_cases'
        ) }} as score,
        {{ service_index_score(
            'coalesce(total.numerator_by_note, total.numerator)', 'total.denominator', 'indicator.max_score',
            'indicator.full_at_in_note', 'indicator.score_without_cases'
        ) }} as score_by_note
    from total
    inner join indicator on total.indicator_code = indicator.indicator_code

)

select
    counted_by,
    source_code,
    period,
    root_department_id,
    department_id,
    department_code,
    department_name,
    department_level,
    grouped_by,
    group_code,
    indicator_code,
    numerator::numeric(18, 4) as numerator,
    denominator::numeric(18, 4) as denominator,
    ratio::numeric(18, 6) as ratio,
    score::numeric(6, 2) as score,
    numerator_by_note::numeric(18, 4) as numerator_by_note,
    score_by_note::numeric(6, 2) as score_by_note,
    note_disagreement,
    max_score::numeric(6, 2) as max_score,
    full_at::numeric(4, 2) as full_at,
    score_without_cases::numeric(6, 2) as score_without_cases,
    case
        when score is not null then null
        when not_counted_because is not null then not_counted_because
        when numerator is null or denominator is null then 'not_published'
        else 'no_cases'
    end as null_reason,
    published_score::numeric(6, 2) as published_score,
    (score - published_score)::numeric(6, 2) as difference,
    data_quality_status,
    captured_at,
    origin,
    load_number
from scored
