-- The same events by the agency that is responsible for the dossier; what it is called, as its system names it.
select
    happened.year_month,
    happened.system_code,
    happened.responsible_agency_code as agency_code,
    agency.agency_name,
    agency.agency_level,
    agency.province_agency_code,
    (count(*) filter (where happened.event_kind = 'received'))::integer as received,
    (count(*) filter (where happened.event_kind = 'resolved_on_time'))::integer as resolved_on_time,
    (count(*) filter (where happened.event_kind = 'resolved_overdue'))::integer as resolved_overdue,
    covered_month.is_provisional,
    happened.origin
from {{ ref('int_dossiers__event') }} as happened
inner join {{ ref('dim_agency') }} as agency on happened.responsible_agency_code = agency.agency_code
inner join {{ ref('int_loads__covered_month') }} as covered_month
    on happened.system_code = covered_month.source_code and happened.year_month = covered_month.year_month
group by
    happened.year_month, happened.system_code, happened.responsible_agency_code, agency.agency_name,
    agency.agency_level, agency.province_agency_code, covered_month.is_provisional, happened.origin
