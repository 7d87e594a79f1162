-- Each line names its dossier, an agency on whose list it stands, and where the dossier lies.
select *
from {{ ref('morning_list') }}
where
    dossier_code is null
    or agency_code is null
    or addressed_agency_code is null
    or officer_unit_code is null
