{{ config(severity='warn') }}

-- A line whose code no system's list of agencies has opens no one-stop: mistyped, or of a system that was not read yet.
select
    one_stop.agency_code,
    one_stop.decision_no
from {{ ref('saturday_one_stop') }} as one_stop
left join {{ ref('dim_agency') }} as agency on one_stop.agency_code = agency.agency_code and agency.is_known
where agency.agency_code is null
