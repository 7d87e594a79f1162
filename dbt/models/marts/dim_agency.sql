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

-- Bodies that a decree made: their codes of the old form were nobody's before it.
founded as (

    select
        lower({{ in_one_spelling('to_agency') }}) as title,
        min(effective_date::date) as founded_date
    from {{ ref('handover_decision') }}
    where scope = 'department' and founds_successor = 'yes'
    group by lower({{ in_one_spelling('to_agency') }})

),

-- Of earlier days than its loads cover, a system's list says nothing.
known as (

    select
        source_code,
        min(covered_date) as known_from
    from {{ ref('int_loads__covered_day') }}
    group by source_code

),

one_stop as (

    select
        agency_code,
        is_open_on_saturday::boolean as is_open_on_saturday
    from {{ ref('saturday_one_stop') }}

),

dated as (

    select
        agency.*,
        coalesce(known.known_from, agency.valid_from) as known_from,
        case
            when agency.code_form = 'old' and agency.agency_level = 'DEPARTMENT' then founded.founded_date
        end as founded_date
    from agency
    left join known on agency.source_code = known.source_code
    left join founded on lower({{ in_one_spelling(agency_title('agency.agency_name')) }}) = founded.title

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
    dated.agency_code,
    dated.agency_code_new_form,
    dated.code_form,
    dated.province_agency_code,
    dated.agency_name,
    dated.agency_level,
    dated.parent_agency_code,
    dated.unit_code,
    coalesce(
        dated.founded_date,
        dated.valid_from,
        -- Of a body that was gone by then the list knows no day.
        case
            when dated.known_from < coalesce(least(dated.valid_to, succession.effective_date), 'infinity'::date)
                then dated.known_from
        end
    ) as valid_from,
    least(dated.valid_to, succession.effective_date) as valid_to,
    dated.known_from,
    coalesce(dated.founded_date, dated.valid_from) is not null as is_valid_from_exact,
    succession.to_agency_code as successor_agency_code,
    succession.decision_no as succession_decision_no,
    one_stop.is_open_on_saturday,
    true as is_known,
    dated.agency_code as member_code,
    dated.source_code,
    dated.origin
from dated
left join succession on dated.agency_code = succession.from_agency_code
left join one_stop on dated.agency_code = one_stop.agency_code
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
    null as known_from,
    false as is_valid_from_exact,
    null as successor_agency_code,
    null as succession_decision_no,
    null as is_open_on_saturday,
    false as is_known,
    '{{ var("unknown_code") }}' as member_code,
    source_code,
    origin
from unknown
