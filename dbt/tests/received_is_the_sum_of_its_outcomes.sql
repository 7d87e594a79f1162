-- Form II.06a: received = resolved + withdrawn + open + paused; each dossier stands in exactly one of the sets, and the
-- flag for resolved agrees with it.
select
    dossier_key,
    report_group,
    is_resolved
from {{ ref('fct_dossier') }}
where
    {{ is_written_since_tested('load_number') }}
    and (report_group = 'not_received')::integer
    + is_resolved::integer
    + (not is_resolved and report_group in ('open', 'paused'))::integer <> 1
