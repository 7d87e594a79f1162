-- The agencies that the published results name, each with the body above it, the one that took its work over, and what
-- stands above or after these in turn.
with recursive next_one as (

    select
        agency_code,
        parent_agency_code as next_agency_code
    from {{ ref('dim_agency') }}
    union all
    select
        agency_code,
        successor_agency_code as next_agency_code
    from {{ ref('dim_agency') }}
    union all
    select
        agency_code,
        province_agency_code as next_agency_code
    from {{ ref('dim_agency') }}

),

-- `union` leaves known codes out, so the search ends.
wanted as (

    select agency_code
    from {{ ref('dossier_results_by_agency_monthly') }}
    union
    select next_one.next_agency_code as agency_code
    from wanted
    inner join next_one on wanted.agency_code = next_one.agency_code
    where next_one.next_agency_code is not null

),

results as (

    select max(origin) as origin
    from {{ ref('dossier_results_by_agency_monthly') }}

)

select
    agency.agency_code,
    agency.agency_name,
    agency.agency_level,
    agency.parent_agency_code,
    agency.province_agency_code,
    agency.successor_agency_code,
    agency.succession_decision_no,
    agency.valid_from,
    agency.valid_to,
    agency.unit_code,
    area.area_code,
    area.area_name,
    agency.is_known,
    -- Names may come from a real list where the results are simulated: what explains those is of their origin.
    greatest(max(agency.origin) over (), results.origin) as origin
from wanted
cross join results
inner join {{ ref('dim_agency') }} as agency on wanted.agency_code = agency.agency_code
left join {{ ref('dim_comparable_area') }} as area
    on
        agency.agency_level = 'COMMUNE'
        and agency.unit_code = area.commune_code
        and area.is_old_commune = (agency.code_form = 'old')
