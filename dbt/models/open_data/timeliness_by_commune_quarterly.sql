{{ kept_by_month(months='int_dossiers__event_quarter', month_made=first_day_of_quarter('year_quarter')) }}

-- The hooks read these only in incremental runs, which dbt does not see when it parses.
-- depends_on: {{ ref('int_dossiers__event_quarter') }}
-- depends_on: {{ ref('int_dossiers__month_made') }}

-- By where the applicant lives, in areas that are the same before and since 1/7/2025, and by the quarter of resolution.
-- While a quarter lacks days most areas have too few late dossiers to be shown: until then the areas of a former
-- district stand together. No total stands here: on time and overdue are all there are.
with district as materialized (

    -- An area of two districts goes to that of most of its old communes.
    select
        area.area_code,
        mode() within group (order by bridge.old_district_code) as district_code
    from {{ ref('dim_comparable_area') }} as area
    inner join {{ ref('bridge_administrative_unit') }} as bridge on area.commune_code = bridge.new_commune_code
    where not area.is_old_commune
    group by area.area_code

),

-- A name that several districts of the country bore says its province: ten were called Huyện Châu Thành, two of them
-- here.
district_name as (

    select
        district_old.unit_code,
        district_old.unit_name
        || case
            when count(*) over (partition by district_old.unit_name) > 1
                then ', ' || lower(left(province_old.unit_name, 1)) || substr(province_old.unit_name, 2)
            else ''
        end as unit_name
    from {{ ref('district_old') }} as district_old
    inner join {{ ref('province_old') }} as province_old on district_old.province_code = province_old.unit_code

),

resolved as (

    select
        happened.year_quarter,
        covered_quarter.is_provisional,
        coalesce(area.area_code, 'unknown') as area_code,
        coalesce(area.area_name, 'Chưa xác định') as area_name,
        coalesce(district.district_code, 'unknown') as district_code,
        coalesce('Các xã thuộc ' || district_name.unit_name || ' (đến 30/6/2025)', 'Chưa xác định') as district_name,
        happened.event_kind,
        happened.origin
    from {{ ref('int_dossiers__event') }} as happened
    inner join {{ ref('int_loads__covered_quarter') }} as covered_quarter
        on happened.year_quarter = covered_quarter.year_quarter
    left join {{ ref('dim_comparable_area') }} as area
        on {{ comparable_area_of('area', 'happened.applicant_commune_code', 'happened.received_date') }}
    left join district on area.area_code = district.area_code
    left join district_name on district.district_code = district_name.unit_code
    where
        happened.event_kind <> 'received'
        and {{ is_in_a_changed_month('happened.event_date', 'int_dossiers__event_quarter', 3) }}

),

grouped as (

    select
        year_quarter,
        case when is_provisional then 'district' else 'commune' end as area_level,
        case when is_provisional then district_code else area_code end as area_code,
        case when is_provisional then district_name else area_name end as area_name,
        district_code,
        district_name,
        is_provisional,
        origin,
        event_kind
    from resolved

)

select
    year_quarter,
    area_level,
    area_code,
    area_name,
    district_code,
    district_name,
    is_provisional,
    origin,
    (count(*) filter (where event_kind = 'resolved_on_time'))::integer as resolved_on_time,
    (count(*) filter (where event_kind = 'resolved_overdue'))::integer as resolved_overdue
from grouped
group by year_quarter, area_level, area_code, area_name, district_code, district_name, is_provisional, origin
