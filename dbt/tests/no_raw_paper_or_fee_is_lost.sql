-- Every paper and fee whose dossier is known stands in its fact, and none that vanished from raw is left there.
with changed as (

    select * from {{ records_changed_since_tested() }} as record

),

part as (

    select
        'paper' as kind,
        paper.source_code,
        paper.dossier_id,
        paper.paper_no as part_no
    from changed
    inner join {{ ref('stg_dossiers__paper') }} as paper
        on changed.source_code = paper.source_code and changed.dossier_id = paper.dossier_id
    union all
    select
        'fee' as kind,
        fee.source_code,
        fee.dossier_id,
        fee.fee_no as part_no
    from changed
    inner join {{ ref('stg_dossiers__fee') }} as fee
        on changed.source_code = fee.source_code and changed.dossier_id = fee.dossier_id

),

known_part as (

    select part.*
    from part
    inner join {{ ref('stg_dossiers__dossier') }} as dossier
        on part.source_code = dossier.source_code and part.dossier_id = dossier.dossier_id
    left join {{ ref('stg_dossiers__deletion') }} as deletion
        on part.source_code = deletion.source_code and part.dossier_id = deletion.dossier_id
    where deletion.deleted_at is null

),

fact as (

    select
        'paper' as kind,
        paper.source_code,
        paper.dossier_id,
        paper.paper_no as part_no
    from changed
    inner join {{ ref('fct_dossier_paper') }} as paper
        on changed.source_code = paper.source_code and changed.dossier_id = paper.dossier_id
    union all
    select
        'fee' as kind,
        fee.source_code,
        fee.dossier_id,
        fee.fee_no as part_no
    from changed
    inner join {{ ref('fct_dossier_fee') }} as fee
        on changed.source_code = fee.source_code and changed.dossier_id = fee.dossier_id

)

select
    coalesce(known_part.kind, fact.kind) as kind,
    known_part.source_code as raw_source_code,
    fact.source_code as fact_source_code,
    coalesce(known_part.dossier_id, fact.dossier_id) as dossier_id,
    coalesce(known_part.part_no, fact.part_no) as part_no
from known_part
full join fact
    on
        known_part.kind = fact.kind
        and known_part.source_code = fact.source_code
        and known_part.dossier_id = fact.dossier_id
        and known_part.part_no = fact.part_no
where known_part.kind is null or fact.kind is null
