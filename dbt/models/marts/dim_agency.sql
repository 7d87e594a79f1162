with agency as (

    select * from {{ ref('int_agencies__one_per_code') }}

),

-- An agency can be named by two decisions, the later one after it was abolished: the first one ends it.
succession as (

    select distinct on (from_agency_code)
        from_agency_code,
        to_agency_code,
        effective_date,
        decision_no
    from {{ ref('int_agencies__succession') }}
    order by from_agency_code, effective_date

)

select
    agency.agency_code,
    agency.agency_code_new_form,
    agency.code_form,
    agency.province_agency_code,
    agency.agency_name,
    agency.agency_level,
    agency.parent_agency_code,
    agency.unit_code,
    agency.valid_from,
    least(agency.valid_to, succession.effective_date) as valid_to,
    succession.to_agency_code as successor_agency_code,
    succession.decision_no as succession_decision_no,
    agency.source_code,
    agency.origin
from agency
left join succession on agency.agency_code = succession.from_agency_code
