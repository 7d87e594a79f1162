{{ config(indexes=[{'columns': ['agency_code', 'event_date']}]) }}

-- Handovers of which both sides stand below one agency: for the whole of them nothing came and nothing went.
select
    giving.agency_code,
    transfer.sector_name,
    transfer.event_date,
    transfer.origin,
    sum(transfer.transferred)::integer as transferred
from {{ ref('int_form_06a__transfer') }} as transfer
inner join {{ ref('bridge_agency_subordinate') }} as giving
    on transfer.from_agency_code = giving.subordinate_agency_code
inner join {{ ref('bridge_agency_subordinate') }} as taking
    on transfer.to_agency_code = taking.subordinate_agency_code and giving.agency_code = taking.agency_code
group by giving.agency_code, transfer.sector_name, transfer.event_date, transfer.origin
