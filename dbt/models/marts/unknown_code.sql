{{
    config(
        materialized='view',
        post_hook='alter view {{ this }} set (security_invoker = true)',
    )
}}

-- For repair, code by code. Rights are those of who asks: an agency sees the codes of its own dossiers.

select
    replace(wrong.rule_code, 'unknown_', '') as code_kind,
    wrong.found_value as code,
    fact.source_code,
    wrong.responsible_agency_code,
    count(*)::integer as dossier_count,
    min(fact.received_date) as first_received_date,
    max(fact.received_date) as last_received_date,
    wrong.origin
from {{ ref('fct_dossier_wrong_data') }} as wrong
inner join {{ ref('fct_dossier') }} as fact on wrong.dossier_key = fact.dossier_key
where
    wrong.rule_code in (
        'unknown_procedure', 'unknown_receiving_agency', 'unknown_responsible_agency', 'unknown_applicant_commune'
    )
group by wrong.rule_code, wrong.found_value, fact.source_code, wrong.responsible_agency_code, wrong.origin
