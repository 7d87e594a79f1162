-- Every step of raw stands in the fact, and no step that vanished from raw is left there.
select
    step.source_code as raw_source_code,
    fact.source_code as fact_source_code,
    fact.step_key
from {{ ref('stg_dossiers__step') }} as step
full join {{ ref('fct_dossier_step') }} as fact
    on
        step.source_code = fact.source_code
        and step.dossier_id = fact.dossier_id
        and step.step_no = fact.step_no
where step.source_code is null or fact.source_code is null
