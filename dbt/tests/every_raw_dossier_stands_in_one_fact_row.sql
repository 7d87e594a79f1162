-- Nothing is lost and nothing counts twice: each raw record leads through its link to exactly one dossier,
-- but for those that their source has deleted.
with changed as (

    select * from {{ records_changed_since_tested() }} as record

)

select
    dossier.source_code,
    dossier.dossier_id,
    count(fact.dossier_key) as fact_rows
from changed
inner join {{ ref('stg_dossiers__dossier') }} as dossier
    on changed.source_code = dossier.source_code and changed.dossier_id = dossier.dossier_id
left join {{ ref('int_dossiers__record') }} as link
    on dossier.source_code = link.source_code and dossier.dossier_id = link.dossier_id
left join {{ ref('fct_dossier') }} as fact
    on link.dossier_key = fact.dossier_key
left join {{ ref('stg_dossiers__deletion') }} as deletion
    on dossier.source_code = deletion.source_code and dossier.dossier_id = deletion.dossier_id
group by dossier.source_code, dossier.dossier_id
having count(fact.dossier_key) <> case when count(deletion.deleted_at) > 0 then 0 else 1 end
