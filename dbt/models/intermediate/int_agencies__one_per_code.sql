-- A province's own system knows its agencies best; the portal's lists fill in the others.

with known as (

    select
        agency_code,
        agency_name,
        parent_agency_code,
        agency_level,
        unit_code,
        source_code,
        origin,
        1 as preference
    from {{ ref('stg_dossiers__agency') }}
    union all
    select
        agency_code,
        agency_name,
        case when portal_level <> 'ROOT' then split_part(agency_code, '.', 1) end as parent_agency_code,
        case portal_level
            when 'ROOT' then 'PROVINCE'
            when 'COMMUNE' then 'COMMUNE'
            else 'DEPARTMENT'
        end as agency_level,
        unit_code,
        'seed_agency_h44' as source_code,
        'real' as origin,
        2 as preference
    from {{ ref('agency_h44') }}
    union all
    select
        agency_code,
        'UBND ' || province_name as agency_name,
        null as parent_agency_code,
        'PROVINCE' as agency_level,
        province_code as unit_code,
        'seed_province_agency' as source_code,
        'real' as origin,
        3 as preference
    from {{ ref('province_agency') }}

),

one_per_code as (

    select distinct on (agency_code)
        agency_code,
        agency_name,
        parent_agency_code,
        agency_level,
        unit_code,
        source_code,
        origin,
        {{ is_old_agency_code('agency_code') }} as is_old_form
    from known
    order by agency_code, preference, source_code

)

select
    agency_code,
    {{ new_form_of_agency_code('agency_code') }} as agency_code_new_form,
    case when is_old_form then 'old' else 'new' end as code_form,
    {{ province_of_agency('agency_code') }} as province_agency_code,
    agency_name,
    agency_level,
    parent_agency_code,
    unit_code,
    case when not is_old_form then '{{ var("reorganisation_date") }}'::date end as valid_from,
    case when is_old_form then '{{ var("reorganisation_date") }}'::date end as valid_to,
    source_code,
    origin
from one_per_code
