with listed as (

    select * from {{ ref('int_administrative_units__listed') }}

),

-- Facts keep communes' codes that the list of the day does not have; a row of theirs keeps them in every join by code.
-- It has no day, so a question about a day never finds it. A code used before the lists is not known, and no mistake.
unknown as (

    select
        used.code as unit_code,
        {{ name_of_unknown_code('used.code') }} as unit_name,
        max(used.origin) as origin
    from {{ ref('int_dossiers__used_code') }} as used
    where
        used.code_kind = 'applicant_commune'
        and used.code <> '{{ var("unknown_code") }}'
        and (
            not used.is_before_known_from
            or not exists (
                select 1 from listed
                where listed.unit_level = 'commune' and listed.unit_code = used.code
            )
        )
    group by used.code
    union all
    -- Where a commune leads that no list has (bridge_dossier_commune).
    select
        '{{ var("unknown_code") }}' as unit_code,
        'Không rõ đơn vị hành chính' as unit_name,
        'real' as origin

)

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
    known_from,
    is_valid_from_exact,
    decree_no,
    true as is_known,
    unit_code as member_code,
    origin
from listed
union all
select
    unit_code || '@{{ var("unknown_code") }}' as unit_key,
    unit_code,
    unit_name,
    'commune' as unit_level,
    null as unit_type,
    null as parent_unit_code,
    null as province_code,
    null as valid_from,
    null as valid_to,
    '{{ var("administrative_units_known_from") }}'::date as known_from,
    false as is_valid_from_exact,
    null as decree_no,
    false as is_known,
    '{{ var("unknown_code") }}' as member_code,
    origin
from unknown
