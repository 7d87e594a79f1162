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

),

-- Facts keep codes that no list of agencies holds; a row of theirs keeps them in every join.
unknown as (

    select
        used.code as agency_code,
        {{ name_of_unknown_code('used.code') }} as agency_name,
        min(used.source_code) as source_code,
        max(used.origin) as origin
    from {{ ref('int_dossiers__used_code') }} as used
    left join agency on used.code = agency.agency_code
    where
        used.code_kind in ('receiving_agency', 'responsible_agency', 'step_agency')
        and agency.agency_code is null
        and used.code <> '{{ var("unknown_code") }}'
    group by used.code
    union all
    -- Who has a dossier that nobody is known to have taken over.
    select
        '{{ var("unknown_code") }}' as agency_code,
        'Không rõ cơ quan' as agency_name,
        'int_agencies__succession' as source_code,
        'real' as origin

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
    true as is_known,
    agency.agency_code as member_code,
    agency.source_code,
    agency.origin
from agency
left join succession on agency.agency_code = succession.from_agency_code
union all
select
    agency_code,
    {{ new_form_of_agency_code('agency_code') }} as agency_code_new_form,
    case when {{ is_old_agency_code('agency_code') }} then 'old' else 'new' end as code_form,
    {{ province_of_agency('agency_code') }} as province_agency_code,
    agency_name,
    null as agency_level,
    null as parent_agency_code,
    null as unit_code,
    null as valid_from,
    null as valid_to,
    null as successor_agency_code,
    null as succession_decision_no,
    false as is_known,
    '{{ var("unknown_code") }}' as member_code,
    source_code,
    origin
from unknown
