-- 10,035 communes, 696 districts, 63 provinces on 30/6/2025; 3,321 communes and 34 provinces since 1/7/2025;
-- nothing is known of the day before the lists begin.
with expected (day, unit_level, units) as (

    values
    ('2025-06-29'::date, 'commune', 0),
    ('2025-06-30'::date, 'commune', 10035),
    ('2025-06-30'::date, 'district', 696),
    ('2025-06-30'::date, 'province', 63),
    ('2025-07-01'::date, 'commune', 3321),
    ('2025-07-01'::date, 'district', 0),
    ('2025-07-01'::date, 'province', 34),
    ('2026-10-01'::date, 'commune', 3321),
    ('2026-10-01'::date, 'province', 34)

),

found as (

    select
        expected.day,
        expected.unit_level,
        expected.units,
        count(unit.unit_key) as units_found
    from expected
    left join {{ ref('dim_administrative_unit') }} as unit
        on
            expected.unit_level = unit.unit_level
            and {{ administrative_unit_as_of('unit', 'unit.unit_code', 'expected.day') }}
    group by expected.day, expected.unit_level, expected.units

)

select * from found
where units <> units_found
