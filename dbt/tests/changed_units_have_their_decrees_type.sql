-- After each decree of 2026 a commune is called and is a Phường, a province a Thành phố, as the decree has it; on the
-- day before it was neither.
with decreed as (

    select
        unit_code,
        unit_level,
        old_name,
        new_name,
        decree_no,
        effective_date::date as effective_date,
        case unit_level when 'province' then 'Thành phố' else 'Phường' end as new_type,
        case unit_level when 'province' then 'Tỉnh' else 'Xã' end as old_type
    from {{ ref('unit_changes_2026') }}

)

select
    decreed.unit_code,
    decreed.effective_date,
    earlier.unit_name as name_before,
    earlier.unit_type as type_before,
    since.unit_name as name_since,
    since.unit_type as type_since
from decreed
left join {{ ref('dim_administrative_unit') }} as earlier
    on
        decreed.unit_level = earlier.unit_level
        and {{ administrative_unit_as_of('earlier', 'decreed.unit_code', 'decreed.effective_date - 1') }}
left join {{ ref('dim_administrative_unit') }} as since
    on
        decreed.unit_level = since.unit_level
        and {{ administrative_unit_as_of('since', 'decreed.unit_code', 'decreed.effective_date') }}
where
    (since.unit_name, since.unit_type, since.decree_no, since.valid_from)
    is distinct from (decreed.new_name, decreed.new_type, decreed.decree_no, decreed.effective_date)
    or earlier.unit_type is distinct from decreed.old_type
    or earlier.unit_name is distinct from decreed.old_name
