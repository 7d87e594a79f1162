{{ config(severity='warn') }}

-- Steps and record of one system should end in the same status; where they do not, the source contradicts itself,
-- and is told so once, when it does.
select
    fact.dossier_key,
    fact.status_code,
    history.status_code as last_status_told
from {{ ref('fct_dossier') }} as fact
inner join {{ ref('fct_dossier_status_history') }} as history on fact.dossier_key = history.dossier_key
where
    {{ is_written_since_tested('fact.load_number') }}
    and history.valid_to is null
    and fact.status_code <> history.status_code
