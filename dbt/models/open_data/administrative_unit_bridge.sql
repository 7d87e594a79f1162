select
    bridge_key,
    old_commune_code,
    old_district_code,
    new_commune_code,
    relation_text,
    relation,
    new_commune_count,
    is_split,
    correction,
    effective_date,
    origin
from {{ ref('bridge_administrative_unit') }}
