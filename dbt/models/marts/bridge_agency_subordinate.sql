{{ config(indexes=[{'columns': ['subordinate_key'], 'unique': true}, {'columns': ['agency_code']}]) }}

-- Who stands below whom, by the parents that the systems name: what a figure "with subordinate units" adds up.
with recursive agency as (

    select
        agency_code,
        parent_agency_code,
        origin
    from {{ ref('dim_agency') }}

),

below as (

    select
        agency_code,
        agency_code as subordinate_agency_code,
        0 as levels_below,
        origin,
        array[agency_code] as way
    from agency
    union all
    select
        below.agency_code,
        agency.agency_code as subordinate_agency_code,
        below.levels_below + 1 as levels_below,
        agency.origin,
        below.way || agency.agency_code as way
    from below
    inner join agency on below.subordinate_agency_code = agency.parent_agency_code
    -- A circle, which only wrong data hold, ends where it began.
    where agency.agency_code <> all(below.way)

)

select
    agency_code || '>' || subordinate_agency_code as subordinate_key,
    agency_code,
    subordinate_agency_code,
    levels_below,
    origin
from below
