select
    source_code,
    dossier_id,
    step_no,
    step_name,
    agency_code,
    started_at,
    due_at,
    finished_at,
    status_code as source_status_code,
    _origin as origin,
    _load_number as load_number
from {{ source('raw', 'dossier_step') }}
