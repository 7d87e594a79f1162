{{ config(materialized='table') }}

-- Who took over from whom, by the decisions of the seed: one naming the agency itself goes before one for all
-- departments of that name, and both before one for a whole province.
-- A province's departments go to the one of the same name, a commune to the one commune that its area went to. Where
-- work was divided (a district's, a split commune's), no successor stands here: the dossier's later record knows.

with agency as (

    select
        *,
        lower({{ in_one_spelling(agency_title('agency_name')) }}) as title
    from {{ ref('int_agencies__one_per_code') }}

),

decision as (

    select
        scope,
        from_agency,
        to_agency,
        effective_date::date as effective_date,
        decision_no
    from {{ ref('handover_decision') }}

),

new_commune as (

    select
        bridge.old_commune_code,
        min(bridge.new_commune_code) as new_commune_code,
        bridge.effective_date
    from {{ ref('bridge_administrative_unit') }} as bridge
    where bridge.old_commune_code is not null
    group by bridge.old_commune_code, bridge.effective_date
    having count(*) = 1

),

commune_decree as (

    select
        unit_code,
        valid_from,
        decree_no
    from {{ ref('int_administrative_units__listed') }}
    where unit_level = 'commune' and is_valid_from_exact

),

by_agency as (

    select
        from_agency as from_agency_code,
        to_agency as to_agency_code,
        effective_date,
        decision_no,
        1 as preference
    from decision
    where scope = 'agency'

),

by_department as (

    select
        department.agency_code as from_agency_code,
        successor.agency_code as to_agency_code,
        decision.effective_date,
        decision.decision_no,
        2 as preference
    from decision
    inner join agency as department
        on
            decision.scope = 'department'
            and department.agency_level = 'DEPARTMENT'
            and department.title = lower({{ in_one_spelling('decision.from_agency') }})
            and (department.valid_from is null or department.valid_from < decision.effective_date)
    left join agency as successor
        on
            department.province_agency_code = successor.province_agency_code
            and department.code_form = successor.code_form
            and successor.agency_level = 'DEPARTMENT'
            and lower({{ in_one_spelling('decision.to_agency') }}) = successor.title

),

by_province as (

    select
        body.agency_code as from_agency_code,
        successor.agency_code as to_agency_code,
        decision.effective_date,
        coalesce(commune_decree.decree_no, decision.decision_no) as decision_no,
        3 as preference
    from decision
    inner join agency as body
        on
            decision.scope = 'province'
            and decision.from_agency = body.province_agency_code
            and decision.effective_date = body.valid_to
    left join new_commune
        on
            body.agency_level = 'COMMUNE'
            and body.unit_code = new_commune.old_commune_code
            and decision.effective_date = new_commune.effective_date
    left join commune_decree
        on
            new_commune.new_commune_code = commune_decree.unit_code
            and decision.effective_date = commune_decree.valid_from
    left join agency as successor
        on
            decision.to_agency = successor.province_agency_code
            and decision.effective_date = successor.valid_from
            and case body.agency_level
                when 'PROVINCE' then successor.agency_level = 'PROVINCE'
                when 'DEPARTMENT' then successor.agency_level = 'DEPARTMENT' and body.title = successor.title
                when 'COMMUNE'
                    then successor.agency_level = 'COMMUNE' and new_commune.new_commune_code = successor.unit_code
            end

),

every_one as (

    select * from by_agency
    union all
    select * from by_department
    union all
    select * from by_province

)

-- Two successors of one name would be two rows; the list of agencies has one of each, or neither is meant.
select distinct on (from_agency_code, effective_date)
    from_agency_code,
    to_agency_code,
    effective_date,
    decision_no
from every_one
order by from_agency_code, effective_date, preference, to_agency_code
