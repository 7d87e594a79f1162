select
    -- identifiers
    source_code,
    dossier_id,
    dossier_code,
    national_code,
    previous_code,

    -- procedure
    procedure_code as procedure_code_as_written,
    procedure_name,
    sector_code,
    sector_name,
    service_level,
    channel,

    -- applicant: the sealed references stay in raw
    applicant_type,
    applicant_id_number as applicant_token,
    applicant_commune_code,

    -- agencies
    receiving_agency_code,
    responsible_agency_code,

    -- moments
    submitted_at,
    received_at,
    due_at,
    completed_at,
    returned_at,

    -- state
    status_code as source_status_code,
    supplement_count,
    is_vneid_account,
    online_payment_code,

    -- lineage
    _origin as origin,
    _load_number as load_number
from {{ source('raw', 'dossier') }}
