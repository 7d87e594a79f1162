-- Every step, paper and fee whose dossier is known stands in its fact, and none that vanished from raw is left there.
{% set kinds = ('step', 'paper', 'fee') %}

with changed as (

    select * from {{ records_changed_since_tested() }} as record

),

known as (

    select changed.*
    from changed
    inner join {{ ref('stg_dossiers__dossier') }} as dossier
        on changed.source_code = dossier.source_code and changed.dossier_id = dossier.dossier_id
    left join {{ ref('stg_dossiers__deletion') }} as deletion
        on changed.source_code = deletion.source_code and changed.dossier_id = deletion.dossier_id
    where deletion.deleted_at is null

),

raw_part as (

    {% for kind in kinds %}
        select
            '{{ kind }}' as kind,
            part.source_code,
            part.dossier_id,
            part.{{ kind }}_no as part_no
        from known
        inner join {{ ref('stg_dossiers__' ~ kind) }} as part
            on known.source_code = part.source_code and known.dossier_id = part.dossier_id
        {{ 'union all' if not loop.last }}
    {% endfor %}

),

fact as (

    {% for kind in kinds %}
        select
            '{{ kind }}' as kind,
            part.source_code,
            part.dossier_id,
            part.{{ kind }}_no as part_no
        from changed
        inner join {{ ref('fct_dossier_' ~ kind) }} as part
            on changed.source_code = part.source_code and changed.dossier_id = part.dossier_id
        {{ 'union all' if not loop.last }}
    {% endfor %}

)

select
    coalesce(raw_part.kind, fact.kind) as kind,
    raw_part.source_code as raw_source_code,
    fact.source_code as fact_source_code,
    coalesce(raw_part.dossier_id, fact.dossier_id) as dossier_id,
    coalesce(raw_part.part_no, fact.part_no) as part_no
from raw_part
full join fact
    on
        raw_part.kind = fact.kind
        and raw_part.source_code = fact.source_code
        and raw_part.dossier_id = fact.dossier_id
        and raw_part.part_no = fact.part_no
where raw_part.kind is null or fact.kind is null
