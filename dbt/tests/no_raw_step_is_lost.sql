-- Every step whose dossier is known stands in the fact, and no step that vanished from raw is left there.
with changed as (

    select * from {{ records_changed_since_tested() }} as record

),

step as (

    select
        step.source_code,
        step.dossier_id,
        step.step_no
    from changed
    inner join {{ ref('stg_dossiers__step') }} as step
        on changed.source_code = step.source_code and changed.dossier_id = step.dossier_id
    inner join {{ ref('stg_dossiers__dossier') }} as dossier
        on step.source_code = dossier.source_code and step.dossier_id = dossier.dossier_id
    left join {{ ref('stg_dossiers__deletion') }} as deletion
        on step.source_code = deletion.source_code and step.dossier_id = deletion.dossier_id
    where deletion.deleted_at is null

),

fact as (

    select fact_step.*
    from changed
    inner join {{ ref('fct_dossier_step') }} as fact_step
        on changed.source_code = fact_step.source_code and changed.dossier_id = fact_step.dossier_id

)

select
    step.source_code as raw_source_code,
    fact.source_code as fact_source_code,
    fact.step_key
from step
full join fact
    on
        step.source_code = fact.source_code
        and step.dossier_id = fact.dossier_id
        and step.step_no = fact.step_no
where step.source_code is null or fact.source_code is null
