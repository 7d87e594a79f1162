select
    source_code,
    dossier_id,
    fee_no,
    fee_kind,
    fee_name,
    amount_vnd,
    payment_method,
    paid_at,
    _origin as origin,
    _load_number as load_number
from {{ source('raw', 'dossier_fee') }}
