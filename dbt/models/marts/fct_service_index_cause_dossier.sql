{{
    config(
        tags=['national'],
        indexes=[
            {'columns': ['responsible_agency_code', 'period']},
            {'columns': ['department_code', 'period', 'indicator_code', 'cause']},
        ]
    )
}}

-- The dossiers behind each cause, by which the score of what the portal holds is not that of ours. Summed they are the
-- causes' totals.
select
    cause,
    difference_class,
    version_key,
    dossier_key,
    dossier_code,
    responsible_agency_code,
    department_code,
    root_code as root_department_code,
    counted_month,
    indicator_code,
    period_kind,
    period,
    decided_before,
    decided_after,
    numerator_change,
    denominator_change,
    numerator_cure,
    denominator_cure
from {{ ref('int_national__effect') }}
where scenario = 'portal'
