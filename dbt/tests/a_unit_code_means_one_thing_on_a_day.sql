-- Periods of one code never overlap, and code 82 is Tiền Giang on 30/6/2025 and Đồng Tháp on 1/7/2025.
select
    earlier.unit_key,
    later.unit_key as other_unit_key
from {{ ref('dim_administrative_unit') }} as earlier
inner join {{ ref('dim_administrative_unit') }} as later
    on
        earlier.unit_code = later.unit_code
        and earlier.valid_from < later.valid_from
        and (earlier.valid_to is null or later.valid_from < earlier.valid_to)
union all
select
    unit.unit_key,
    day_name.unit_name as other_unit_key
from (
    values
    ('82', '2025-06-30'::date, 'Tỉnh Tiền Giang'),
    ('82', '2025-07-01'::date, 'Tỉnh Đồng Tháp'),
    ('07294', '2026-09-19'::date, 'Xã Bố Hạ'),
    ('07294', '2026-09-20'::date, 'Phường Bố Hạ'),
    ('75', '2026-04-30'::date, 'Thành phố Đồng Nai')
) as day_name (unit_code, day, unit_name)
left join {{ ref('dim_administrative_unit') }} as unit
    on {{ administrative_unit_as_of('unit', 'day_name.unit_code', 'day_name.day') }}
where unit.unit_name is distinct from day_name.unit_name
