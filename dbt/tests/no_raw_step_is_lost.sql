-- Every step whose dossier is known stands in the fact, and no step that vanished from raw is left there.
with step as (

    select
        step.source_code,
        step.dossier_id,
        step.step_no
    from {{ ref('stg_dossiers__step') }} as step
    inner join {{ ref('stg_dossiers__dossier') }} as dossier
        on step.source_code = dossier.source_code and step.dossier_id = dossier.dossier_id
    left join {{ ref('stg_dossiers__deletion') }} as deletion
        on step.source_code = deletion.source_code and step.dossier_id = deletion.dossier_id
    where deletion.deleted_at is null

)

select
    step.source_code as raw_source_code,
    fact.source_code as fact_source_code,
    fact.step_key
from step
full join {{ ref('fct_dossier_step') }} as fact
    on
        step.source_code = fact.source_code
        and step.dossier_id = fact.dossier_id
        and step.step_no = fact.step_no
where step.source_code is null or fact.source_code is null
