{{ kept_by_month(indexes=[{'columns': ['event_date']}]) }}

-- The hooks read these only in incremental runs, which dbt does not see when it parses.
-- depends_on: {{ ref('int_dossiers__month') }}
-- depends_on: {{ ref('int_dossiers__month_made') }}

-- Who handed how many dossiers to whom on a day, as form II.06a counts them. What came from a system that the warehouse
-- does not hold came from nobody here, and is no handover between two agencies.
select
    earlier.agency_code as from_agency_code,
    holding.agency_code as to_agency_code,
    holding.sector_name,
    holding.origin,
    holding.since_date as event_date,
    holding.received_month,
    count(*)::integer as transferred
from {{ ref('int_dossiers__holding') }} as holding
inner join {{ ref('int_dossiers__holding') }} as earlier
    on
        holding.dossier_key = earlier.dossier_key
        and earlier.holding_no = holding.holding_no - 1
where
    holding.came_by = 'handover'
    and {{ is_of_a_changed_month('holding.received_month') }}
group by
    earlier.agency_code, holding.agency_code, holding.sector_name, holding.origin, holding.since_date,
    holding.received_month
