-- Both ends of the bridge stand in the lists of their day, and every commune of either day is in it.
with old_commune as (

    select unit_code from {{ ref('commune_old') }}

),

new_commune as (

    select unit_code from {{ ref('commune_new') }}

),

bridge as (

    select * from {{ ref('bridge_administrative_unit') }}

)

select
    bridge.old_commune_code,
    bridge.new_commune_code
from bridge
left join old_commune on bridge.old_commune_code = old_commune.unit_code
left join new_commune on bridge.new_commune_code = new_commune.unit_code
where
    (bridge.old_commune_code is not null and old_commune.unit_code is null)
    or new_commune.unit_code is null
union all
select
    old_commune.unit_code as old_commune_code,
    null as new_commune_code
from old_commune
left join bridge on old_commune.unit_code = bridge.old_commune_code
where bridge.bridge_key is null
union all
select
    null as old_commune_code,
    new_commune.unit_code as new_commune_code
from new_commune
left join bridge on new_commune.unit_code = bridge.new_commune_code
where bridge.bridge_key is null
