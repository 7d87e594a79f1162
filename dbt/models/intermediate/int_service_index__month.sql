{{ config(materialized='table') }}

-- A month's checksum over its dossiers: where it differs from what was counted, the month is counted anew.
select
    counted_month,
    md5(count(*) || '|' || sum(content_hash)) as month_checksum
from {{ ref('fct_service_index_dossier') }}
where counted_month is not null
group by counted_month
