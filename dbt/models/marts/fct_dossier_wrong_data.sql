{{
    kept_by_month(
        key='wrong_data_key',
        months='int_dossiers__wrong_month',
        indexes=[{'columns': ['dossier_key']}, {'columns': ['responsible_agency_code']}]
    )
}}

-- The hooks read these only in incremental runs, which dbt does not see when it parses.
-- depends_on: {{ ref('int_dossiers__wrong_month') }}
-- depends_on: {{ ref('int_dossiers__month_made') }}

-- Name of a rule, whether a dossier breaks it, the value found.
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
    ('negative_fee', 'wrong_fee.is_negative', 'null'),
    ('paid_before_submission', 'wrong_fee.is_paid_early', 'null'),
    ('status_not_mapped', 'dossier.status_code is null', 'dossier.source_status_code'),
    ('code_claimed_twice', 'claimed_twice.dossier_key is not null', 'dossier.dossier_code'),
    ('unknown_procedure', 'unknown_procedure.code is not null', 'unknown_procedure.code'),
    ('unknown_receiving_agency', 'unknown_receiving.code is not null', 'unknown_receiving.code'),
    ('unknown_responsible_agency', 'unknown_responsible.code is not null', 'unknown_responsible.code'),
    (
        'unknown_applicant_commune',
        "unit.unit_key is null and dossier.applicant_commune_code is not null and dossier.received_date >= '"
        ~ var('administrative_units_known_from') ~ "'::date",
        'dossier.applicant_commune_code'
    ),
] %}

with dossier as (

    select
        *,
        {{ month_of('received_date') }} as received_month
    from {{ ref('fct_dossier') }}
    where {{ is_in_a_changed_month('received_date', 'int_dossiers__wrong_month') }}

),

unknown_code as (

    select
        code_kind,
        code,
        source_code
    from {{ ref('int_dossiers__unknown_code') }}
    where not is_before_known_from

),

wrong_fee as (

    select
        fee.dossier_key,
        bool_or(fee.amount_vnd < 0) as is_negative,
        bool_or({{ paid_before_submission('fee.paid_at', 'dossier.submitted_at') }}) as is_paid_early
    from dossier
    inner join {{ ref('fct_dossier_fee') }} as fee on dossier.dossier_key = fee.dossier_key
    where
        fee.is_current_record
        and (fee.amount_vnd < 0 or {{ paid_before_submission('fee.paid_at', 'dossier.submitted_at') }})
    group by fee.dossier_key

),

wrong_rule as (

    select * from {{ ref('wrong_data_rule') }}

),

judged as (

    select
        dossier.dossier_key,
        dossier.responsible_agency_code,
        dossier.received_month,
        dossier.origin,
        tried.rule_code,
        tried.found_value
    from dossier
    left join {{ ref('int_dossiers__claimed_twice') }} as claimed_twice
        on dossier.dossier_key = claimed_twice.dossier_key
    left join wrong_fee on dossier.dossier_key = wrong_fee.dossier_key
    {% for alias, kind, column in [
        ('unknown_procedure', 'procedure', 'procedure_code'),
        ('unknown_receiving', 'receiving_agency', 'receiving_agency_code'),
        ('unknown_responsible', 'responsible_agency', 'responsible_agency_code'),
    ] %}
        left join unknown_code as {{ alias }}
            on
                {{ alias }}.code_kind = '{{ kind }}'
                and dossier.{{ column }} = {{ alias }}.code
                and dossier.source_code = {{ alias }}.source_code
    {% endfor %}
    left join {{ ref('dim_administrative_unit') }} as unit
        on
            unit.unit_level = 'commune'
            and {{ administrative_unit_as_of('unit', 'dossier.applicant_commune_code', 'dossier.received_date') }}
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

)

select
    md5(judged.dossier_key || '|' || judged.rule_code) as wrong_data_key,
    judged.dossier_key,
    judged.responsible_agency_code,
    judged.rule_code,
    wrong_rule.list_name_vi as rule_name_vi,
    wrong_rule.list_name_en as rule_name_en,
    judged.found_value,
    judged.received_month,
    judged.origin
from judged
inner join wrong_rule on judged.rule_code = wrong_rule.rule_code
