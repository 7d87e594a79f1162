{{ kept_by_month(indexes=[{'columns': ['event_date']}]) }}

-- The hooks read these only in incremental runs, which dbt does not see when it parses.
-- depends_on: {{ ref('int_dossiers__month') }}
-- depends_on: {{ ref('int_dossiers__month_made') }}

-- Who handed how many dossiers to whom on a day, as form II.06a counts them. What came from a system that the warehouse
-- does not hold came from nobody here, and is no handover between two agencies.
with holding as (

    select
        dossier_key,
        holding_no,
        agency_code,
        sector_name,
        origin,
        since_date,
        came_by,
        received_month
    from {{ ref('int_dossiers__holding') }}
    where {{ is_of_a_changed_month('received_month') }}

)

select
    earlier.agency_code as from_agency_code,
    later.agency_code as to_agency_code,
    later.sector_name,
    later.origin,
    later.since_date as event_date,
    later.received_month,
    count(*)::integer as transferred
from holding as later
inner join holding as earlier
    on
        later.dossier_key = earlier.dossier_key
        and earlier.holding_no = later.holding_no - 1
where later.came_by = 'handover'
group by
    earlier.agency_code, later.agency_code, later.sector_name, later.origin, later.since_date, later.received_month
