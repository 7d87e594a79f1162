select
    unit_key,
    unit_code,
    unit_name,
    unit_level,
    unit_type,
    parent_unit_code,
    province_code,
    valid_from,
    valid_to,
    is_valid_from_exact,
    decree_no,
    origin
from {{ ref('dim_administrative_unit') }}
where is_known
