-- A dossier is with one agency at a time, without a gap, from its receipt (or its arrival from a system that the
-- warehouse does not hold) to its end.
with fact as (

    select * from {{ ref('fct_dossier') }}
    where {{ is_written_since_tested('load_number') }}

),

holding as (

    select
        held.*,
        lag(held.left_date) over (partition by held.dossier_key order by held.holding_no) as before_left_date,
        lead(held.since_date) over (partition by held.dossier_key order by held.holding_no) as next_since_date
    from fact
    inner join {{ ref('int_dossiers__holding') }} as held on fact.dossier_key = held.dossier_key

),

last_holding as (

    select distinct on (dossier_key)
        dossier_key,
        agency_code,
        left_by
    from holding
    order by dossier_key asc, holding_no desc

)

select
    dossier_key,
    'gap or overlap' as what
from holding
where
    (left_date is not null and left_date < since_date)
    or (next_since_date is not null and (left_date is null or left_date <> next_since_date))
    or (before_left_date is null and came_by = 'handover' and holding_no > 1)
union all
select
    coalesce(fact.dossier_key, last_holding.dossier_key) as dossier_key,
    'not with who decides' as what
from fact
full join last_holding on fact.dossier_key = last_holding.dossier_key
where
    -- One that no later system holds stays under the code of the abolished body there.
    (
        last_holding.agency_code <> fact.responsible_agency_code
        and not (fact.record_count = 1 and {{ is_old_agency_code('fact.responsible_agency_code') }})
    )
    or (
        last_holding.dossier_key is null
        and {{ is_counted_in_form_06a('fact.report_group', 'fact.completed_date') }}
    )
    or fact.dossier_key is null
    or (fact.is_resolved and last_holding.left_by is distinct from 'end' and fact.completed_date is not null)
