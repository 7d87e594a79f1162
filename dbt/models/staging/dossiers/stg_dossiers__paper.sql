select
    source_code,
    dossier_id,
    paper_no,
    paper_code,
    paper_name,
    is_result,
    is_digitised,
    is_reused,
    is_from_personal_storage,
    file_url is not null as has_file,
    _origin as origin,
    _load_number as load_number
from {{ source('raw', 'dossier_paper') }}
