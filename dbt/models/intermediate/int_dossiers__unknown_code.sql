{{ config(materialized='table') }}

-- Facts keep the codes as they are and drop no row; what the dimensions do not know is listed here for repair.

with used as (

    select * from {{ ref('int_dossiers__used_code') }}

),

unknown as (

    select used.*
    from used
    left join {{ ref('dim_procedure') }} as known_procedure
        on
            used.code_kind = 'procedure'
            and used.code = known_procedure.procedure_code
            and known_procedure.is_known
    left join {{ ref('dim_agency') }} as agency
        on
            used.code_kind in ('receiving_agency', 'responsible_agency', 'step_agency')
            and used.code = agency.agency_code
            and agency.is_known
    where known_procedure.procedure_code is null and agency.agency_code is null

)

select
    code_kind,
    code,
    source_code,
    is_before_known_from,
    sum(dossier_count)::bigint as dossier_count
from unknown
group by code_kind, code, source_code, is_before_known_from
