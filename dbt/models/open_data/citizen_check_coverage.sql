-- How many citizens with a dossier were checked, by the province whose agency decides it; a citizen with dossiers at
-- two agencies counts at each.
select
    {{ province_of_agency('responsible_agency_code') }} as province_agency_code,
    outcome,
    origin,
    count(*)::integer as citizens
from {{ ref('fct_citizen_check') }}
group by {{ province_of_agency('responsible_agency_code') }}, outcome, origin
