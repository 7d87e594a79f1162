select
    source_code,
    dossier_id,
    missed_at,
    deleted_at,
    load_number
from {{ source('raw', 'dossier_deletion') }}
