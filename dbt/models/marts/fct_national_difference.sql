{{
    config(
        tags=['national'],
        indexes=[
            {'columns': ['responsible_agency_code', 'is_standing']},
            {'columns': ['dossier_key']},
        ]
    )
}}

with comparison as (

    select * from {{ ref('stg_national__comparison') }}

),

standing as (

    select * from {{ ref('stg_national__standing') }}

),

-- A class without fields has one row.
told as (

    select
        difference.difference_class,
        coalesce(field.field_name, '') as field_name,
        difference.code_here,
        difference.code_there,
        (array_agg(difference.dossier_key order by comparison.compared_at desc))[1] as dossier_key,
        (array_agg(difference.responsible_agency_code order by comparison.compared_at desc))[1]
            as responsible_agency_code,
        (array_agg(difference.received_date order by comparison.compared_at desc))[1] as received_date,
        (array_agg(difference.cure order by comparison.compared_at desc))[1] as cure,
        (array_agg(difference.origin order by comparison.compared_at desc))[1] as origin,
        array_to_string(array_agg(distinct comparison.told_by order by comparison.told_by), ', ') as told_by,
        min(comparison.compared_at) as first_seen_at,
        max(comparison.compared_at) as last_seen_at
    from {{ ref('stg_national__difference') }} as difference
    inner join comparison on difference.comparison_number = comparison.comparison_number
    left join lateral string_to_table(difference.field_names, ',') as field (field_name) on true
    group by difference.difference_class, field.field_name, difference.code_here, difference.code_there

),

stands as (

    select
        standing.difference_class,
        coalesce(field.field_name, '') as field_name,
        standing.code_here,
        standing.code_there,
        standing.there ->> {{ column_of_field('field.field_name') }} as value_there
    from standing
    left join lateral string_to_table(standing.field_names, ',') as field (field_name) on true

),

answer as (

    select distinct on (difference_class, dossier_code)
        difference_class,
        dossier_code,
        answer,
        answered_at
    from {{ ref('stg_national__answer') }}
    order by difference_class asc, dossier_code asc, answered_at desc

),

judged as (

    select
        told.*,
        stands.difference_class is not null as is_standing,
        stands.value_there,
        answer.answer,
        answer.answered_at,
        -- The first later look that no longer told it: a comparison of its day, or a look-up of the dossier.
        case
            when stands.difference_class is null
                then least(
                    (
                        select min(later.compared_at)
                        from comparison as later
                        where
                            later.compared_at > told.last_seen_at
                            and told.received_date between later.first_day and later.last_day
                    ),
                    (
                        select looked.looked_at
                        from {{ ref('stg_national__looked') }} as looked
                        where looked.dossier_key = told.dossier_key and looked.looked_at > told.last_seen_at
                    )
                )
        end as healed_at
    from told
    left join stands
        on
            told.difference_class = stands.difference_class
            and told.field_name = stands.field_name
            and told.code_here is not distinct from stands.code_here
            and told.code_there is not distinct from stands.code_there
    left join answer
        on
            told.difference_class = answer.difference_class
            and coalesce(told.code_here, told.code_there) = answer.dossier_code

),

caused as (

    select
        *,
        {{ cause_of_difference('difference_class', 'field_name') }} as cause,
        case
            when difference_class in ('missing_here', 'duplicated_there')
                then concat_ws(':', 'there', code_there, dossier_key)
            else dossier_key
        end as version_key
    from judged

),

-- A dossier may be moved from one procedure to another.
cure as (

    select
        version_key,
        difference_class,
        cause,
        department_code,
        period,
        indicator_code,
        sum({{ numerator_of_dossiers('procedure_code', 'met_of_unit', 'numerator_cure') }}) as numerator_cure,
        sum(denominator_cure) as denominator_cure
    from (
        {{ of_agency_and_province(ref('fct_service_index_cause_dossier')) }}
    ) as by_unit
    where unit_code = department_code and period_kind = 'month'
    group by version_key, difference_class, cause, department_code, period, indicator_code

),

-- What the agency's score of the month of receipt would gain if this one dossier stood there as here.
effect as (

    select
        effect.version_key,
        effect.difference_class,
        effect.cause,
        sum(
            coalesce({{ service_index_score(
                '(score.numerator + effect.numerator_cure)',
                denominator_of_the_index(
                    'effect.indicator_code', '(score.numerator + effect.numerator_cure)',
                    '(score.denominator + effect.denominator_cure)'
                ),
                'indicator.max_score::numeric', 'indicator.full_at::numeric',
                "nullif(indicator.score_without_cases, '')::numeric", 6
            ) }}, 0)
            - coalesce({{ service_index_score(
                'score.numerator', 'score.denominator', 'indicator.max_score::numeric', 'indicator.full_at::numeric',
                "nullif(indicator.score_without_cases, '')::numeric", 6
            ) }}, 0)
        ) as points
    from cure as effect
    inner join {{ ref('fct_service_index_score') }} as score
        on
            score.counted_by = 'portal_copy'
            and effect.department_code = score.department_code
            and effect.period = score.period
            and effect.indicator_code = score.indicator_code
    inner join {{ ref('service_index_indicator') }} as indicator on effect.indicator_code = indicator.indicator_code
    group by effect.version_key, effect.difference_class, effect.cause

)

select
    md5(concat_ws(
        '|', caused.difference_class, caused.field_name, coalesce(caused.code_here, ''), coalesce(caused.code_there, '')
    )) as difference_key,
    caused.difference_class,
    caused.cause,
    nullif(caused.field_name, '') as field_name,
    caused.dossier_key,
    caused.code_here,
    caused.code_there,
    caused.responsible_agency_code,
    caused.received_date,
    caused.value_there,
    caused.told_by,
    caused.cure,
    caused.first_seen_at,
    caused.last_seen_at,
    caused.is_standing,
    caused.healed_at,
    -- Fields of one cause share its points.
    case
        when caused.is_standing
            then (
                effect.points
                / count(*) over (
                    partition by
                        caused.version_key, caused.difference_class, caused.cause, caused.is_standing
                )
            )::numeric(10, 6)
    end as points,
    caused.answer,
    caused.answered_at,
    coalesce(caused.origin, 'unknown') as origin
from caused
left join effect
    on
        caused.version_key = effect.version_key
        and caused.difference_class = effect.difference_class
        and caused.cause = effect.cause
