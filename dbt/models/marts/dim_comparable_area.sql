-- Areas closed under the bridge: new communes that share an old commune belong together, so do the old ones.
with recursive bridge as (

    -- A district that had no communes became one commune.
    select
        coalesce(old_commune_code, old_district_code) as old_unit_code,
        old_commune_code,
        new_commune_code
    from {{ ref('bridge_administrative_unit') }}

),

neighbour as (

    select distinct
        one.new_commune_code,
        other.new_commune_code as neighbour_code
    from bridge as one
    inner join bridge as other on one.old_unit_code = other.old_unit_code

),

-- `union` leaves known pairs out, so the search ends.
reached as (

    select
        new_commune_code as commune_code,
        new_commune_code as reached_code
    from bridge
    union
    select
        reached.commune_code,
        neighbour.neighbour_code as reached_code
    from reached
    inner join neighbour on reached.reached_code = neighbour.new_commune_code

),

area as (

    select
        commune_code as new_commune_code,
        min(reached_code) as area_code
    from reached
    group by commune_code

),

member as (

    select
        new_commune_code as commune_code,
        false as is_old_commune,
        area_code
    from area
    union all
    select
        bridge.old_commune_code as commune_code,
        true as is_old_commune,
        min(area.area_code) as area_code
    from bridge
    inner join area on bridge.new_commune_code = area.new_commune_code
    where bridge.old_commune_code is not null
    group by bridge.old_commune_code

),

counted as (

    select
        member.*,
        (count(*) filter (where member.is_old_commune) over (partition by member.area_code))::integer
            as old_commune_count,
        (count(*) filter (where not member.is_old_commune) over (partition by member.area_code))::integer
            as new_commune_count
    from member

)

select
    case when counted.is_old_commune then 'old:' else 'new:' end || counted.commune_code as member_key,
    counted.commune_code,
    counted.is_old_commune,
    case when not counted.is_old_commune then '{{ var("reorganisation_date") }}'::date end as valid_from,
    case when counted.is_old_commune then '{{ var("reorganisation_date") }}'::date end as valid_to,
    counted.area_code,
    case
        when counted.new_commune_count = 1 then first_commune.unit_name
        else first_commune.unit_name || ' (+' || counted.new_commune_count - 1 || ')'
    end as area_name,
    first_commune.province_code,
    counted.old_commune_count,
    counted.new_commune_count,
    'real' as origin
from counted
inner join {{ ref('commune_new') }} as first_commune on counted.area_code = first_commune.unit_code
