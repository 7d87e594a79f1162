{{
    config(
        tags=['national'],
        indexes=[{'columns': ['responsible_agency_code', 'state']}]
    )
}}

-- What the warehouse, where it is the writer, does not send or the portal does not take, and why. Without a personal
-- value: fields by their names, the portal's answer as scrubbed.

select
    md5(concat_ws('|', dossier_key, coalesce(step_no::text, ''))) as set_aside_key,
    dossier_key,
    dossier_code,
    step_no,
    responsible_agency_code,
    received_date,
    state,
    lacking_fields,
    reasons,
    -- What it said of a content that is now held for another reason says nothing any more.
    case when state = 'refused' then portal_answer end as portal_answer,
    called_at,
    origin
from {{ ref('stg_national__set_aside') }}
