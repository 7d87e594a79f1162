{{ config(materialized='table') }}

-- What the official lists say. Types are read from the first words of the name, where a list gives none.

with old_unit as (

    select
        unit_code,
        unit_name,
        'province' as unit_level,
        unit_type,
        null as parent_unit_code,
        unit_code as province_code
    from {{ ref('province_old') }}
    union all
    select
        unit_code,
        unit_name,
        'district' as unit_level,
        unit_type,
        province_code as parent_unit_code,
        province_code
    from {{ ref('district_old') }}
    union all
    select
        unit_code,
        unit_name,
        'commune' as unit_level,
        unit_type,
        district_code as parent_unit_code,
        province_code
    from {{ ref('commune_old') }}

),

new_unit as (

    select
        unit_code,
        unit_name,
        'province' as unit_level,
        unit_type,
        null as parent_unit_code,
        unit_code as province_code,
        null as decree_no
    from {{ ref('province_new') }}
    union all
    select
        unit_code,
        unit_name,
        'commune' as unit_level,
        unit_type,
        province_code as parent_unit_code,
        province_code,
        decree_no
    from {{ ref('commune_new') }}

),

change as (

    select
        unit_code,
        unit_level,
        new_name,
        decree_no,
        effective_date::date as effective_date
    from {{ ref('unit_changes_2026') }}

),

-- The state of 1/7/2025, then one row more for each later change.
new_state as (

    select
        unit_code,
        unit_name,
        unit_level,
        unit_type,
        parent_unit_code,
        province_code,
        decree_no,
        '{{ var("reorganisation_date") }}'::date as valid_from
    from new_unit
    union all
    select
        new_unit.unit_code,
        change.new_name as unit_name,
        new_unit.unit_level,
        case
            when change.new_name like 'Thành phố %' then 'Thành phố'
            when change.new_name like 'Đặc khu %' then 'Đặc khu'
            else split_part(change.new_name, ' ', 1)
        end as unit_type,
        new_unit.parent_unit_code,
        new_unit.province_code,
        change.decree_no,
        change.effective_date as valid_from
    from change
    inner join new_unit on change.unit_code = new_unit.unit_code and change.unit_level = new_unit.unit_level

),

all_unit as (

    select
        unit_code,
        unit_name,
        unit_level,
        unit_type,
        parent_unit_code,
        province_code,
        null as decree_no,
        '{{ var("administrative_units_known_from") }}'::date as valid_from,
        '{{ var("reorganisation_date") }}'::date as valid_to,
        false as is_valid_from_exact
    from old_unit
    union all
    select
        unit_code,
        unit_name,
        unit_level,
        unit_type,
        parent_unit_code,
        province_code,
        decree_no,
        valid_from,
        lead(valid_from) over (partition by unit_level, unit_code order by valid_from) as valid_to,
        true as is_valid_from_exact
    from new_state

)

select
    unit_code || '@' || to_char(valid_from, 'YYYY-MM-DD') as unit_key,
    unit_code,
    unit_name,
    unit_level,
    unit_type,
    parent_unit_code,
    province_code,
    valid_from,
    valid_to,
    '{{ var("administrative_units_known_from") }}'::date as known_from,
    is_valid_from_exact,
    decree_no,
    'real' as origin
from all_unit
