-- 10,035 communes, 696 districts, 63 provinces on 30/6/2025; 3,321 communes and 34 provinces since 1/7/2025;
-- nothing is known of the day before the lists begin. Of the 3,321 are 2,621 xã, 687 phường and 13 đặc khu, of the 34
-- provinces 6 cities (NQ 202/2025/QH15 and the resolutions on communes of each province).
with expected (day, unit_level, unit_type, units) as (

    values
    ('2025-06-29'::date, 'commune', null, 0),
    ('2025-06-30'::date, 'commune', null, 10035),
    ('2025-06-30'::date, 'district', null, 696),
    ('2025-06-30'::date, 'province', null, 63),
    ('2025-07-01'::date, 'commune', null, 3321),
    ('2025-07-01'::date, 'commune', 'Xã', 2621),
    ('2025-07-01'::date, 'commune', 'Phường', 687),
    ('2025-07-01'::date, 'commune', 'Đặc khu', 13),
    ('2025-07-01'::date, 'province', 'Thành phố', 6),
    ('2025-07-01'::date, 'district', null, 0),
    ('2025-07-01'::date, 'province', null, 34),
    ('2026-10-01'::date, 'commune', null, 3321),
    ('2026-10-01'::date, 'province', null, 34)

),

found as (

    select
        expected.day,
        expected.unit_level,
        expected.unit_type,
        expected.units,
        count(unit.unit_key) as units_found
    from expected
    left join {{ ref('dim_administrative_unit') }} as unit
        on
            expected.unit_level = unit.unit_level
            and coalesce(expected.unit_type, unit.unit_type) = unit.unit_type
            and {{ administrative_unit_as_of('unit', 'unit.unit_code', 'expected.day') }}
    group by expected.day, expected.unit_level, expected.unit_type, expected.units

)

select * from found
where units <> units_found
