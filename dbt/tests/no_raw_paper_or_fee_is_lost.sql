-- Every paper and fee whose dossier is known stands in its fact, and none that vanished from raw is left there.
with part as (

    select
        'paper' as kind,
        source_code,
        dossier_id,
        paper_no as part_no
    from {{ ref('stg_dossiers__paper') }}
    union all
    select
        'fee' as kind,
        source_code,
        dossier_id,
        fee_no as part_no
    from {{ ref('stg_dossiers__fee') }}

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
        source_code,
        dossier_id,
        paper_no as part_no
    from {{ ref('fct_dossier_paper') }}
    union all
    select
        'fee' as kind,
        source_code,
        dossier_id,
        fee_no as part_no
    from {{ ref('fct_dossier_fee') }}

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
