{{ config(materialized='table') }}

-- Counted in one pass over the facts, for all who ask which codes the dimensions lack.
with dossier as (

    select
        procedure_code,
        receiving_agency_code,
        responsible_agency_code,
        source_code,
        origin
    from {{ ref('fct_dossier') }}

)

select
    case
        when grouping(procedure_code) = 0 then 'procedure'
        when grouping(receiving_agency_code) = 0 then 'receiving_agency'
        else 'responsible_agency'
    end as code_kind,
    coalesce(procedure_code, receiving_agency_code, responsible_agency_code) as code,
    source_code,
    count(*) as dossier_count,
    max(origin) as origin
from dossier
group by
    grouping sets (
        (source_code, procedure_code), (source_code, receiving_agency_code), (source_code, responsible_agency_code)
    )
