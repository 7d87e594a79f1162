{{ config(materialized='view') }}

-- A view: the candidates follow from the dossier's commune and day, and change with them. A commune that no list has
-- leads to the unknown one; of a day before the lists begin they say what its code would mean on their first day.
select
    fact.dossier_key,
    fact.applicant_commune_code,
    coalesce(bridge.new_commune_code, area.commune_code, '{{ var("unknown_code") }}') as new_commune_code,
    case
        when bridge.new_commune_code is not null then bridge.relation
        when area.commune_code is not null then 'since'
        else 'unknown'
    end as relation,
    coalesce(bridge.new_commune_count, case when area.commune_code is not null then 1 else 0 end) as candidate_count,
    {{ are_communes_known_on('fact.received_date') }} as is_list_known,
    fact.origin
from {{ ref('fct_dossier') }} as fact
left join {{ ref('bridge_administrative_unit') }} as bridge
    on fact.applicant_commune_code = bridge.old_commune_code and {{ is_before_reorganisation('fact.received_date') }}
-- The list of new communes, from marts: who may read the view may read what it reads.
left join {{ ref('dim_comparable_area') }} as area
    on
        fact.applicant_commune_code = area.commune_code
        and not area.is_old_commune
        and not {{ is_before_reorganisation('fact.received_date') }}
where fact.applicant_commune_code is not null
