{{ config(severity='warn') }}

-- A status that is not mapped leaves the dossier open; all of them are told after each build, not only the new ones.
select
    dossier_key,
    source_status_code
from {{ ref('fct_dossier') }}
where status_code is null
