{{ config(materialized='view') }}

-- A view: the candidates follow from the dossier's commune and day, and change with them.
select
    fact.dossier_key,
    bridge.new_commune_code,
    bridge.relation,
    bridge.new_commune_count as candidate_count,
    fact.origin
from {{ ref('fct_dossier') }} as fact
inner join {{ ref('bridge_administrative_unit') }} as bridge
    on fact.applicant_commune_code = bridge.old_commune_code and {{ is_before_reorganisation('fact.received_date') }}
union all
select
    fact.dossier_key,
    commune.unit_code as new_commune_code,
    'since' as relation,
    1 as candidate_count,
    fact.origin
from {{ ref('fct_dossier') }} as fact
inner join {{ ref('commune_new') }} as commune
    on fact.applicant_commune_code = commune.unit_code and not {{ is_before_reorganisation('fact.received_date') }}
