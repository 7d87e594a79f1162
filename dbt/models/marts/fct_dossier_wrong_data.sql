{{
    config(
        indexes=[
            {'columns': ['wrong_data_key'], 'unique': true},
            {'columns': ['dossier_key']},
            {'columns': ['responsible_agency_code']},
        ]
    )
}}

-- Rules that a dossier's own row decides: name, whether it is broken, the value found.
{% set rules = [
    (
        'ended_before_receipt',
        ended_before_receipt('dossier.completed_date', 'dossier.received_date'),
        'dossier.completed_date::text'
    ),
    ('due_before_receipt', due_before_receipt('dossier.due_date', 'dossier.received_date'), 'dossier.due_date::text'),
    (
        'returned_before_end',
        returned_before_end('dossier.returned_at', 'dossier.completed_at'),
        'dossier.returned_date::text'
    ),
    ('ended_without_day', ended_without_day('dossier.is_resolved', 'dossier.completed_date'), 'null'),
    ('open_without_due_day', open_without_due_day('dossier.report_group', 'dossier.due_date'), 'null'),
    ('paid_before_submission', 'paid_early.dossier_key is not null', 'null'),
    ('status_not_mapped', 'dossier.status_code is null', 'dossier.source_status_code'),
    ('code_claimed_twice', 'claimed_twice.dossier_code is not null', 'dossier.dossier_code'),
] %}

with dossier as (

    select * from {{ ref('fct_dossier') }}

),

claimed_twice as (

    select dossier_code
    from dossier
    group by dossier_code
    having count(*) > 1

),

unknown_code as (

    select
        code_kind,
        code,
        source_code
    from {{ ref('int_dossiers__unknown_code') }}
    where not is_before_known_from

),

negative_fee as (

    select distinct dossier_key
    from {{ ref('fct_dossier_fee') }}
    where is_current_record and amount_vnd < 0

),

paid_early as (

    select distinct fee.dossier_key
    from {{ ref('fct_dossier_fee') }} as fee
    inner join dossier on fee.dossier_key = dossier.dossier_key
    where fee.is_current_record and {{ paid_before_submission('fee.paid_at', 'dossier.submitted_at') }}

),

wrong_rule as (

    select * from {{ ref('wrong_data_rule') }}

),

judged as (

    select
        dossier.dossier_key,
        dossier.responsible_agency_code,
        dossier.origin,
        tried.rule_code,
        tried.found_value
    from dossier
    left join claimed_twice on dossier.dossier_code = claimed_twice.dossier_code
    left join paid_early on dossier.dossier_key = paid_early.dossier_key
    cross join
        lateral (
            values
            {% for rule_code, is_broken, found_value in rules %}
                ('{{ rule_code }}', {{ is_broken }}, {{ found_value }}){{ ',' if not loop.last }}
            {% endfor %}
        ) as tried (rule_code, is_broken, found_value)
    where
        tried.is_broken
        -- Few dossiers break any rule, and only those are asked which.
        and (
            false
            {% for rule in rules %}
                or {{ rule[1] }}
            {% endfor %}
        )
    union all
    select
        dossier.dossier_key,
        dossier.responsible_agency_code,
        dossier.origin,
        'negative_fee' as rule_code,
        null as found_value
    from dossier
    inner join negative_fee on dossier.dossier_key = negative_fee.dossier_key
    union all
    select
        dossier.dossier_key,
        dossier.responsible_agency_code,
        dossier.origin,
        'unknown_' || unknown_code.code_kind as rule_code,
        unknown_code.code as found_value
    from dossier
    inner join unknown_code
        on
            dossier.source_code = unknown_code.source_code
            and unknown_code.code = case unknown_code.code_kind
                when 'procedure' then dossier.procedure_code
                when 'receiving_agency' then dossier.receiving_agency_code
                when 'responsible_agency' then dossier.responsible_agency_code
            end
    union all
    select
        dossier.dossier_key,
        dossier.responsible_agency_code,
        dossier.origin,
        'unknown_applicant_commune' as rule_code,
        dossier.applicant_commune_code as found_value
    from dossier
    left join {{ ref('dim_administrative_unit') }} as unit
        on
            unit.unit_level = 'commune'
            and {{ administrative_unit_as_of('unit', 'dossier.applicant_commune_code', 'dossier.received_date') }}
    where
        dossier.received_date >= '{{ var("administrative_units_known_from") }}'::date
        and dossier.applicant_commune_code is not null
        and unit.unit_key is null

)

select
    md5(judged.dossier_key || '|' || judged.rule_code) as wrong_data_key,
    judged.dossier_key,
    judged.responsible_agency_code,
    judged.rule_code,
    wrong_rule.list_name_vi as rule_name_vi,
    wrong_rule.list_name_en as rule_name_en,
    judged.found_value,
    judged.origin
from judged
inner join wrong_rule on judged.rule_code = wrong_rule.rule_code
