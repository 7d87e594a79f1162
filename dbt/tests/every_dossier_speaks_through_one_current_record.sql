-- The fact holds as many dossiers as there are current records, and counts every record that is not removed.
with facts as (

    select
        count(*) as dossiers,
        coalesce(sum(record_count), 0) as records
    from {{ ref('fct_dossier') }}

),

links as (

    select
        count(*) filter (where is_current) as dossiers,
        count(*) filter (where not is_removed) as records
    from {{ ref('int_dossiers__record') }}

)

select
    facts.dossiers,
    links.dossiers as linked_dossiers,
    facts.records,
    links.records as linked_records
from facts
cross join links
where facts.dossiers <> links.dossiers or facts.records <> links.records
