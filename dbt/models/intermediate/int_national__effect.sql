-- What another version of a dossier changes in the index: its outcome instead of the one before it. The one before is
-- ours, or for what an operator assumes of the portal's copy, that copy. And what a cure would change back there: the
-- same, but a dossier that is missing there counts as synchronised once it is there, whatever our system says of it.
-- Of indicators that count procedures (3.2, 3.5) it changes how many dossiers its procedure has: `procedure_code`.

with judged as (

    select
        *,
        lag(version_no) over (partition by scenario, version_key order by version_no) as version_before,
        lead(version_no) over (partition by scenario, version_key order by version_no) as version_after
    from {{ ref('int_national__judged_version') }}

),

ours as (

    select * from {{ ref('fct_service_index_dossier') }}

),

as_of as (

    select as_of_date from {{ ref('as_of_day') }}

),

{% set outcomes = [
    'dossier_sync', 'progress_on_time', 'online_dossier', 'online_dossier_by_note', 'online_service_used',
    'payment_service_used', 'payment_dossier', 'original_result_available', 'papers_and_result_digitised',
    'reused_digitised_data', 'synced_with_personal_storage', 'citizen_data_connected', 'open_limit_date',
] -%}
{% set after = 'newer.scenario, newer.version_key, newer.version_no, newer.cause, newer.difference_class, '
    ~ 'newer.dossier_key, newer.dossier_code, newer.agency_here, newer.is_extra, newer.is_absent' -%}

stand as (

    select
        {{ after }},
        1 as sign,
        newer.department_code,
        newer.procedure_code,
        newer.counted_month,
        newer.{{ outcomes | join(', newer.') }}
    from judged as newer
    union all
    -- Between two causes.
    select
        {{ after }},
        -1 as sign,
        older.department_code,
        older.procedure_code,
        older.counted_month,
        older.{{ outcomes | join(', older.') }}
    from judged as newer
    inner join judged as older
        on
            newer.scenario = older.scenario
            and newer.version_key = older.version_key
            and newer.version_before = older.version_no
    union all
    -- What the portal holds, under what is assumed of it.
    select
        {{ after }},
        -1 as sign,
        older.department_code,
        older.procedure_code,
        older.counted_month,
        older.{{ outcomes | join(', older.') }}
    from judged as newer
    inner join judged as older
        on
            newer.dossier_key = older.dossier_key
            and older.scenario = 'portal'
            and older.version_after is null
            and not older.is_extra
    where newer.base = 'portal' and newer.version_before is null
    union all
    select
        {{ after }},
        -1 as sign,
        ours.responsible_agency_code as department_code,
        ours.procedure_code,
        ours.counted_month,
        ours.{{ outcomes | join(', ours.') }}
    from judged as newer
    inner join ours on newer.dossier_key = ours.dossier_key
    where
        not newer.is_extra
        and newer.version_before is null
        and (
            newer.base = 'warehouse'
            or not exists (
                select 1 from judged as older
                where older.scenario = 'portal' and older.dossier_key = newer.dossier_key and not older.is_extra
            )
        )

),

-- Most outcomes are the same before and newer.
changed as (

    select
        stand.scenario,
        stand.version_key,
        stand.version_no,
        stand.cause,
        stand.difference_class,
        stand.dossier_key,
        stand.dossier_code,
        coalesce(stand.agency_here, stand.department_code) as responsible_agency_code,
        stand.department_code,
        stand.counted_month,
        clause.indicator_code,
        case when clause.counts_procedures then stand.procedure_code end as procedure_code,
        stand.is_extra and clause.indicator_code = 'DOSSIER_SYNC' as is_only_above,
        counted.decided,
        case when counted.decided like 'open:%' then stand.open_limit_date end as open_limit_date,
        sum(counted.sign) as sign,
        sum(counted.cure_sign) as cure_sign
    from stand
    cross join
        lateral (
            {{ outcomes_of_the_index('stand') }}
        ) as clause (indicator_code, counts_procedures, decided)
    cross join
        lateral (
            values
            (
                clause.decided,
                stand.sign,
                case
                    when clause.indicator_code <> 'DOSSIER_SYNC' or stand.is_extra then -stand.sign
                    when stand.is_absent then least(-stand.sign, 0)
                    -- A code that is not known here changes nothing there.
                    else 0
                end
            ),
            (
                'met:there',
                0,
                case
                    when
                        stand.is_absent and stand.sign = 1
                        and clause.indicator_code = 'DOSSIER_SYNC' and clause.decided like 'missed:%'
                        then 1
                    else 0
                end
            )
        ) as counted (decided, sign, cure_sign)
    where
        stand.counted_month is not null
        and (not clause.counts_procedures or (clause.decided like 'met:%' and stand.procedure_code is not null))
        and (counted.sign <> 0 or counted.cure_sign <> 0)
    group by
        stand.scenario,
        stand.version_key,
        stand.version_no,
        stand.cause,
        stand.difference_class,
        stand.dossier_key,
        stand.dossier_code,
        coalesce(stand.agency_here, stand.department_code),
        stand.department_code,
        stand.counted_month,
        clause.indicator_code,
        case when clause.counts_procedures then stand.procedure_code end,
        stand.is_extra and clause.indicator_code = 'DOSSIER_SYNC',
        counted.decided,
        case when counted.decided like 'open:%' then stand.open_limit_date end
    having sum(counted.sign) <> 0 or sum(counted.cure_sign) <> 0

),

by_period as (

    select
        changed.*,
        period.period_kind,
        period.period,
        case
            when changed.decided not like 'open:%' then split_part(changed.decided, ':', 1)
            when
                changed.decided like 'open:%'
                and {{ index_is_on_time_without_end(
                    'changed.open_limit_date', 'period.last_day', 'as_of.as_of_date'
                ) }}
                then 'met'
            when changed.decided like 'open:%' then 'missed'
        end as outcome
    from changed
    cross join as_of
    cross join lateral (
        {{ periods_of_month('changed.counted_month') }}
    ) as period (period_kind, period, last_day)

)

select
    scenario,
    version_key,
    version_no,
    cause,
    difference_class,
    dossier_key,
    dossier_code,
    responsible_agency_code,
    department_code,
    {{ province_root_of_agency('department_code') }} as root_code,
    counted_month,
    indicator_code,
    procedure_code,
    period_kind,
    period,
    max(decided) filter (where sign < 0) as decided_before,
    max(decided) filter (where sign > 0) as decided_after,
    {{ sum_of_outcomes('sign', 'met') }} as numerator_change,
    case when procedure_code is null then {{ sum_of_outcomes('sign', 'counted') }} else 0 end as denominator_change,
    {{ sum_of_outcomes('cure_sign', 'met') }} as numerator_cure,
    case when procedure_code is null then {{ sum_of_outcomes('cure_sign', 'counted') }} else 0 end as denominator_cure
from by_period
group by
    scenario,
    version_key,
    version_no,
    cause,
    difference_class,
    dossier_key,
    dossier_code,
    responsible_agency_code,
    department_code,
    counted_month,
    indicator_code,
    procedure_code,
    period_kind,
    period
having
    {{ sum_of_outcomes('sign', 'met') }} <> 0
    or {{ sum_of_outcomes('sign', 'counted') }} <> 0
    or {{ sum_of_outcomes('cure_sign', 'met') }} <> 0
    or {{ sum_of_outcomes('cure_sign', 'counted') }} <> 0
