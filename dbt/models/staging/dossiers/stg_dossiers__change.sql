select
    source_code,
    dossier_id,
    load_number
from {{ source('raw', 'dossier_change') }}
