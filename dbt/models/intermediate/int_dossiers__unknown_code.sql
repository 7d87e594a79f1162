-- Facts keep the codes as they are and drop no row; what the dimensions do not know is listed here for repair.

with commune as (

    select
        applicant_commune_code as code,
        received_date as as_of_date,
        source_code,
        count(*) as dossier_count
    from {{ ref('fct_dossier') }}
    where applicant_commune_code is not null
    group by applicant_commune_code, received_date, source_code

),

counted as (

    select
        code_kind,
        code,
        null::date as as_of_date,
        source_code,
        dossier_count
    from {{ ref('int_dossiers__used_code') }}
    union all
    select
        'applicant_commune' as code_kind,
        code,
        as_of_date,
        source_code,
        dossier_count
    from commune

),

unknown as (

    select
        counted.*,
        -- The lists answer from one day on; before it a commune is "not known", no mistake of the source.
        coalesce(counted.as_of_date < '{{ var("administrative_units_known_from") }}'::date, false)
            as is_before_known_from
    from counted
    left join {{ ref('dim_procedure') }} as known_procedure
        on
            counted.code_kind = 'procedure'
            and counted.code = known_procedure.procedure_code
            and known_procedure.is_known
    left join {{ ref('dim_agency') }} as agency
        on
            counted.code_kind in ('receiving_agency', 'responsible_agency')
            and counted.code = agency.agency_code
            and agency.is_known
    left join {{ ref('dim_administrative_unit') }} as unit
        on
            counted.code_kind = 'applicant_commune'
            and unit.unit_level = 'commune'
            and {{ administrative_unit_as_of('unit', 'counted.code', 'counted.as_of_date') }}
    where
        known_procedure.procedure_code is null
        and agency.agency_code is null
        and unit.unit_key is null

)

select
    code_kind,
    code,
    source_code,
    is_before_known_from,
    sum(dossier_count)::bigint as dossier_count
from unknown
group by code_kind, code, source_code, is_before_known_from
