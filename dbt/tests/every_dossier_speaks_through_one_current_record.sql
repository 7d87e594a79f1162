-- Of records that were linked anew: each one that is current is what the fact says of its dossier, no other one is said
-- of any, and a dossier counts all records that are not removed.
with link as (

    select * from {{ ref('int_dossiers__record') }}
    where {{ is_written_since_tested('linked_in_load') }}

),

said as (

    select fact.*
    from link
    inner join {{ ref('fct_dossier') }} as fact
        on link.source_code = fact.source_code and link.dossier_id = fact.dossier_id

),

current_link as (

    select * from link
    where is_current

),

counted as (

    select
        link.dossier_key,
        count(*) as records
    from link
    where not link.is_removed
    group by link.dossier_key

)

select
    coalesce(current_link.dossier_key, said.dossier_key) as dossier_key,
    said.dossier_key as said_of,
    said.record_count,
    counted.records
from current_link
full join said on current_link.source_code = said.source_code and current_link.dossier_id = said.dossier_id
left join counted on current_link.dossier_key = counted.dossier_key
where
    current_link.dossier_key is distinct from said.dossier_key
    or said.record_count is distinct from counted.records
