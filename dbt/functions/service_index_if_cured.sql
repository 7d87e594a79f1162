-- What the score of what the national portal holds would be, did these dossiers stand there as here: each of their
-- differences taken back at once, by the rule that scores all others. Whoever asks reckons with what he sees.
with chosen as (

    select
        department_code,
        root_department_code,
        indicator_code,
        procedure_code,
        version_key,
        numerator_cure,
        denominator_cure,
        met_there,
        met_there_in_province
    from {{ ref('fct_service_index_cause_dossier') }}
    where period = of_period and (dossier_codes is null or dossier_code = any(dossier_codes))

),

by_unit as (

    {{ of_agency_and_province('chosen') }}

),

by_procedure as (

    select
        unit_code,
        indicator_code,
        procedure_code,
        sum(numerator_cure) as numerator_cure,
        sum(denominator_cure) as denominator_cure,
        max(met_of_unit) as met_there
    from by_unit
    group by unit_code, indicator_code, procedure_code

),

summed as (

    select
        unit_code,
        indicator_code,
        (
            select count(distinct by_unit.version_key) from by_unit
            where by_unit.unit_code = by_procedure.unit_code and by_unit.indicator_code = by_procedure.indicator_code
        ) as dossier_count,
        sum({{ numerator_of_dossiers('procedure_code', 'met_there', 'numerator_cure') }}) as numerator_cure,
        sum(denominator_cure) as denominator_cure
    from by_procedure
    group by unit_code, indicator_code

),

cured as (

    select
        summed.unit_code,
        summed.indicator_code,
        summed.dossier_count,
        score.score,
        score.max_score,
        score.full_at,
        score.score_without_cases,
        score.numerator + summed.numerator_cure as numerator_cured,
        score.denominator + summed.denominator_cure as denominator_cured
    from summed
    inner join {{ ref('fct_service_index_score') }} as score
        on
            summed.unit_code = score.department_code
            and summed.indicator_code = score.indicator_code
            and score.counted_by = 'portal_copy'
            and score.period = of_period

),

scored as (

    select
        *,
        coalesce({{ service_index_score(
            'numerator_cured',
            denominator_of_the_index('indicator_code', 'numerator_cured', 'denominator_cured'),
            'max_score', 'full_at', 'score_without_cases'
        ) }}, 0) as score_if_cured
    from cured

)

select
    unit_code,
    indicator_code,
    dossier_count,
    score,
    score_if_cured::numeric(6, 2),
    (score_if_cured - coalesce(score, 0))::numeric(6, 2) as points
from scored
order by unit_code asc, points desc, indicator_code asc
