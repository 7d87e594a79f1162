-- Areas are closed under the bridge, lie in one province, and hold each commune of both lists once; no smaller ones do.
with area as (

    select * from {{ ref('dim_comparable_area') }}

),

-- Lists: what is in none.
forgotten as (

    select
        listed.unit_code as commune_code,
        'in no area, or in several' as fault
    from (
        select
            unit_code,
            true as is_old
        from {{ ref('commune_old') }}
        union all
        select
            unit_code,
            false as is_old
        from {{ ref('commune_new') }}
    ) as listed
    left join area on listed.unit_code = area.commune_code and listed.is_old = area.is_old_commune
    group by listed.unit_code, listed.is_old
    having count(area.area_code) <> 1

),

-- Pairs of the bridge whose ends were torn apart.
torn as (

    select
        bridge.old_commune_code as commune_code,
        'its new commune lies in another area' as fault
    from {{ ref('bridge_administrative_unit') }} as bridge
    inner join area as old_end on bridge.old_commune_code = old_end.commune_code and old_end.is_old_commune
    inner join area as new_end on bridge.new_commune_code = new_end.commune_code and not new_end.is_old_commune
    where old_end.area_code <> new_end.area_code

),

-- A member of a larger area that nothing joins to another member could stand alone.
loose as (

    select
        one.commune_code,
        'shares no old commune with its area' as fault
    from area as one
    where
        not one.is_old_commune
        and one.new_commune_count > 1
        and not exists (
            select 1
            from {{ ref('bridge_administrative_unit') }} as mine
            inner join {{ ref('bridge_administrative_unit') }} as theirs
                on mine.old_commune_code = theirs.old_commune_code and mine.new_commune_code <> theirs.new_commune_code
            where mine.new_commune_code = one.commune_code
        )

),

astride as (

    select
        area.area_code as commune_code,
        'lies in two provinces' as fault
    from area
    inner join {{ ref('commune_new') }} as commune on area.commune_code = commune.unit_code
    where not area.is_old_commune and area.province_code <> commune.province_code

)

select * from forgotten
union all
select * from torn
union all
select * from loose
union all
select * from astride
