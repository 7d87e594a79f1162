-- One row for each dossier and indicator, with the clause that counts it or leaves it out: where a number comes from.
select
    judged.dossier_key,
    judged.first_source_code,
    judged.responsible_agency_code as department_code,
    judged.procedure_code,
    judged.counted_month,
    clause.indicator_code,
    clause.counts_procedures,
    split_part(clause.decided, ':', 1) as outcome,
    split_part(clause.decided, ':', 2) as clause,
    clause.decided,
    case when clause.indicator_code = 'PROGRESS_ON_TIME' then judged.open_limit_date end as open_limit_date,
    judged.origin,
    judged.load_number
from {{ ref('fct_service_index_dossier') }} as judged
cross join lateral (
    {{ outcomes_of_the_index('judged') }}
) as clause (indicator_code, counts_procedures, decided)
