with bridge as (

    select * from {{ ref('commune_bridge') }}

),

counted as (

    select
        coalesce(old_commune_code, old_district_code) || '>' || new_commune_code as bridge_key,
        old_commune_code,
        old_district_code,
        new_commune_code,
        relation_text,
        relation,
        case
            when old_commune_code is null then 1
            else count(*) over (partition by old_commune_code)
        end::integer as new_commune_count,
        correction is not null as is_corrected,
        correction,
        '{{ var("reorganisation_date") }}'::date as effective_date,
        'real' as origin
    from bridge

)

select
    bridge_key,
    old_commune_code,
    old_district_code,
    new_commune_code,
    relation_text,
    relation,
    new_commune_count,
    new_commune_count > 1 as is_split,
    is_corrected,
    correction,
    effective_date,
    origin
from counted
