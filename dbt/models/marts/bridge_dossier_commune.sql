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
    area.commune_code as new_commune_code,
    'since' as relation,
    1 as candidate_count,
    fact.origin
from {{ ref('fct_dossier') }} as fact
-- The list of new communes, from marts: who may read the view may read what it reads.
inner join {{ ref('dim_comparable_area') }} as area
    on
        fact.applicant_commune_code = area.commune_code
        and not area.is_old_commune
        and not {{ is_before_reorganisation('fact.received_date') }}
