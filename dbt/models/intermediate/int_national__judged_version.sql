-- Other versions of a dossier than ours, each judged by the same clauses: what the national portal holds (scenario
-- 'portal'), or what an operator assumes. A dossier that differs for several causes has a version for each: with this
-- cause and those before it, so that what each of them changes adds up. What the portal's file does not tell (papers,
-- fees, steps) is as ours.

with fact as not materialized (

    select * from {{ ref('fct_dossier') }}

),

standing as (

    select * from {{ ref('stg_national__standing') }}

),

absent as (

    select distinct on (dossier_key)
        dossier_key,
        difference_class,
        code_here
    from standing
    where difference_class in ('missing_there', 'late') and dossier_key is not null
    order by dossier_key asc, difference_class desc

),

compared_day as (

    select distinct covered.midnight::date as compared_date
    from {{ ref('stg_national__comparison') }} as comparison
    cross join
        lateral generate_series(comparison.first_day, comparison.last_day, interval '1 day') as covered (midnight)
    where comparison.told_by = 'export'

),

differing as (

    select
        standing.dossier_key,
        standing.difference_class,
        {{ cause_of_difference('standing.difference_class', 'field.field_name') }} as cause,
        {{ column_of_field('field.field_name') }} as column_name,
        standing.there -> {{ column_of_field('field.field_name') }} as value_there
    from standing
    cross join lateral string_to_table(standing.field_names, ',') as field (field_name)
    where
        standing.difference_class = 'content_differs'
        and standing.dossier_key not in (select absent.dossier_key from absent)
    union all
    -- The portal has it, and its code is not known here.
    select
        fact.dossier_key,
        'code_differs' as difference_class,
        'code_differs' as cause,
        'national_code' as column_name,
        to_jsonb(fact.dossier_code) as value_there
    from fact
    inner join compared_day on fact.received_date = compared_day.compared_date
    where
        fact.national_code is null
        and fact.dossier_key not in (select absent.dossier_key from absent)

),

ordered as (

    select
        *,
        {{ order_of_cause('cause') }} as version_no
    from differing

),

version as (

    select
        'portal' as scenario,
        absent.dossier_key as version_key,
        {{ order_of_cause('absent.difference_class') }} as version_no,
        absent.difference_class as cause,
        absent.difference_class,
        'warehouse' as base,
        false as is_extra,
        true as is_absent,
        absent.dossier_key,
        '{}'::jsonb as changes
    from absent
    union all
    select
        'portal' as scenario,
        upto.dossier_key as version_key,
        upto.version_no,
        upto.cause,
        upto.difference_class,
        'warehouse' as base,
        false as is_extra,
        false as is_absent,
        upto.dossier_key,
        jsonb_object_agg(known.column_name, known.value_there) as changes
    from (
        select
            dossier_key,
            version_no,
            cause,
            min(difference_class) as difference_class
        from ordered
        group by dossier_key, version_no, cause
    ) as upto
    inner join ordered as known on upto.dossier_key = known.dossier_key and upto.version_no >= known.version_no
    group by upto.dossier_key, upto.version_no, upto.cause, upto.difference_class
    union all
    -- What stands there beside ours.
    select
        'portal' as scenario,
        concat_ws(':', 'there', code_there, dossier_key) as version_key,
        {{ order_of_cause('difference_class') }} as version_no,
        difference_class as cause,
        difference_class,
        'warehouse' as base,
        true as is_extra,
        false as is_absent,
        dossier_key,
        coalesce(there, '{}'::jsonb) || jsonb_build_object('national_code', code_there) as changes
    from standing
    where difference_class in ('missing_here', 'duplicated_there')
    union all
    select
        assumed.scenario,
        assumed.dossier_key as version_key,
        1 as version_no,
        'assumed' as cause,
        'assumed' as difference_class,
        assumed.base,
        false as is_extra,
        assumed.is_absent,
        assumed.dossier_key,
        -- What is assumed to stand there is synchronised.
        case
            when assumed.base = 'portal' then jsonb_build_object('national_code', fact.dossier_code)
            else '{}'::jsonb
        end || assumed.changes as changes
    from {{ ref('stg_national__assumed') }} as assumed
    inner join fact on assumed.dossier_key = fact.dossier_key

),

dossier as (

    select
        version.scenario,
        version.version_key,
        version.version_no,
        version.cause,
        version.difference_class,
        version.base,
        version.is_extra,
        version.is_absent,
        version.dossier_key,
        fact.dossier_code,
        fact.responsible_agency_code as agency_here,
        fact.source_code,
        fact.dossier_id,
        fact.first_source_code,
        fact.first_dossier_id,
        -- Who decided at the receipt is known of ours; the portal's copy names one agency.
        case when version.changes ? 'responsible_agency_code' then 1 else fact.record_count end as record_count,
        fact.supplement_count,
        fact.receiving_agency_code,
        fact.submitted_at,
        {{ in_version('national_code', 'text') }},
        {{ in_version('procedure_code', 'text') }},
        {{ in_version('channel', 'smallint') }},
        {{ in_version('responsible_agency_code', 'text') }},
        {{ in_version('status_code', 'smallint') }},
        {{ in_version('received_at', 'timestamptz') }},
        {{ in_version('due_at', 'timestamptz') }},
        {{ in_version('completed_at', 'timestamptz') }},
        {{ in_version('returned_at', 'timestamptz') }},
        {{ in_version('is_vneid_account', 'boolean') }},
        {{ in_version('online_payment_code', 'smallint') }},
        coalesce(fact.origin, 'simulated') as origin
    from version
    left join fact on version.dossier_key = fact.dossier_key
    where fact.dossier_key is not null or version.dossier_key is null

),

known_dossier as (

    select distinct
        dossier_key,
        source_code,
        dossier_id
    from dossier

),

{{ catalogue_for_the_index() }},

{{ judged_by_the_index('known_dossier') }}

select
    scenario,
    version_key,
    version_no,
    cause,
    difference_class,
    base,
    is_extra,
    is_absent,
    dossier_key,
    dossier_code,
    agency_here,
    department_code,
    procedure_code,
    counted_month,
    -- What is not there counts in 1.4 alone, as not synchronised.
    case
        when is_absent and dossier_sync not like 'excluded:%' then 'missed:not_there'
        else dossier_sync
    end as dossier_sync,
    {% for outcome in [
        'progress_on_time', 'online_dossier', 'online_dossier_by_note', 'online_service_used',
        'payment_service_used', 'payment_dossier', 'original_result_available', 'papers_and_result_digitised',
        'reused_digitised_data', 'synced_with_personal_storage', 'citizen_data_connected',
    ] -%}
        case when is_absent then 'excluded:not_there' else {{ outcome }} end as {{ outcome }},
    {% endfor -%}
    case when progress_on_time like 'open:%' and not is_absent then {{ local_date('limit_at') }} end as open_limit_date,
    origin
from judged
