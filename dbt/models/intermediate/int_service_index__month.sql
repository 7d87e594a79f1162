{{ config(materialized='table') }}

-- A month's dossiers as the index judges them, in one word: where it differs, the month is counted anew.
-- `received_month` is what macros of kept models call the month; here it is the one that the index counts a dossier in.
select
    counted_month as received_month,
    md5(count(*) || '|' || sum(content_hash)) as month_fingerprint
from {{ ref('fct_service_index_dossier') }}
where counted_month is not null
group by counted_month
