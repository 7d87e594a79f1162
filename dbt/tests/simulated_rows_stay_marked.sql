-- A dossier is simulated as soon as one of its records is, and every row says which it is.
select
    fact.dossier_key,
    fact.origin
from {{ ref('fct_dossier') }} as fact
inner join {{ ref('int_dossiers__record') }} as link on fact.dossier_key = link.dossier_key
inner join {{ ref('stg_dossiers__dossier') }} as dossier
    on link.source_code = dossier.source_code and link.dossier_id = dossier.dossier_id
where
    {{ is_written_since_tested('fact.load_number') }}
    and (
        fact.origin not in ('real', 'simulated')
        or (dossier.origin = 'simulated' and fact.origin <> 'simulated')
    )
