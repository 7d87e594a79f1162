{{ config(severity='warn') }}

-- A step whose dossier was rejected waits in raw until the dossier is replayed; it is counted here, not lost.
select
    step.source_code,
    step.dossier_id,
    step.step_no
from {{ ref('stg_dossiers__step') }} as step
left join {{ ref('stg_dossiers__dossier') }} as dossier
    on step.source_code = dossier.source_code and step.dossier_id = dossier.dossier_id
where dossier.dossier_id is null
