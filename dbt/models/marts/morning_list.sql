{{
    config(
        materialized='view',
        post_hook='alter view {{ this }} set (security_invoker = true)',
    )
}}

-- Rights are those of who asks: an agency sees in it what it may see of the facts.

with as_of as (

    select as_of_date from {{ ref('as_of_day') }}

),

listed as (

    select
        fact.dossier_key,
        fact.dossier_code,
        fact.procedure_code,
        fact.responsible_agency_code,
        fact.status_code,
        fact.due_date,
        fact.origin,
        case when fact.is_overdue then 'overdue' else 'due_soon' end as list_kind,
        case when fact.is_overdue then 1 else 2 end as list_no,
        case when fact.is_overdue then 'overdue' else 'due_soon' end as reason,
        case when fact.is_overdue then 'Quá hạn' else 'Sắp đến hạn' end as reason_vi
    from {{ ref('fct_dossier') }} as fact
    cross join as_of
    where
        not fact.is_resolved
        and fact.report_group in ('open', 'paused')
        and (fact.is_overdue or {{ is_due_soon('fact.due_date', 'as_of.as_of_date') }})
    union all
    select
        fact.dossier_key,
        fact.dossier_code,
        fact.procedure_code,
        fact.responsible_agency_code,
        fact.status_code,
        fact.due_date,
        fact.origin,
        'wrong_data' as list_kind,
        3 as list_no,
        wrong.rule_code as reason,
        wrong.rule_name_vi as reason_vi
    from {{ ref('fct_dossier_wrong_data') }} as wrong
    inner join {{ ref('fct_dossier') }} as fact on wrong.dossier_key = fact.dossier_key

)

select
    {{ responsible_agency_of_now('listed') }} as agency_code,
    -- What lies with a code that no list knows, or with nobody, is looked after one level above: by the province of the
    -- code, or the one that took that province over.
    case
        when holder.is_known then holder.agency_code
        else coalesce(
            above.successor_agency_code, above.agency_code, {{ responsible_agency_of_now('listed') }}
        )
    end as addressed_agency_code,
    as_of.as_of_date,
    listed.list_kind,
    listed.list_no,
    listed.dossier_key,
    listed.dossier_code,
    listed.procedure_code,
    known_procedure.procedure_name,
    listed.status_code,
    listed.due_date,
    case when listed.list_kind <> 'wrong_data' then listed.due_date - as_of.as_of_date end as days_left,
    {{ officer_unit_of_now('listed') }} as officer_unit_code,
    unit.agency_name as officer_unit_name,
    listed.reason,
    listed.reason_vi,
    listed.origin
from listed
cross join as_of
{{ join_officer_unit_of_now('listed') }}
left join {{ ref('dim_procedure') }} as known_procedure on listed.procedure_code = known_procedure.procedure_code
left join {{ ref('dim_agency') }} as holder on {{ responsible_agency_of_now('listed') }} = holder.agency_code
left join {{ ref('dim_agency') }} as above
    on
        above.is_known
        and above.agency_code = {{ province_root_of_agency(
            "coalesce(nullif(" ~ responsible_agency_of_now('listed') ~ ", '" ~ var('unknown_code')
            ~ "'), listed.responsible_agency_code)"
        ) }}
left join {{ ref('dim_agency') }} as unit on {{ officer_unit_of_now('listed') }} = unit.agency_code
