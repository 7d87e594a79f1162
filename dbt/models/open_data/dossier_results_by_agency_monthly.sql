-- The same events by the agency that is responsible for the dossier; what it is called, as its system names it. A
-- commune's agency has another code before and since 1/7/2025: the area it lies in is the same on both sides.
select
    happened.year_month,
    happened.system_code,
    happened.responsible_agency_code as agency_code,
    agency.agency_name,
    agency.agency_level,
    area.area_code,
    area.area_name,
    agency.province_agency_code,
    happened.received,
    happened.resolved_on_time,
    happened.resolved_overdue,
    covered_month.is_provisional,
    happened.origin
from {{ ref('int_dossiers__agency_month') }} as happened
inner join {{ ref('dim_agency') }} as agency on happened.responsible_agency_code = agency.agency_code
inner join {{ ref('int_loads__covered_month') }} as covered_month
    on happened.system_code = covered_month.source_code and happened.year_month = covered_month.year_month
left join {{ ref('dim_comparable_area') }} as area
    on
        agency.agency_level = 'COMMUNE'
        and agency.unit_code = area.commune_code
        and area.is_old_commune = (agency.code_form = 'old')
