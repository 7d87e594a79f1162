-- Published figures beside ours, from the facts alone. A figure without its source, or of days that no load covers, is
-- not computable, and the row says why. Why a value of ours differs was reviewed figure by figure, in the seed.
with figure as (

    select
        published.province_code_old,
        published.province_name,
        published.period_label,
        published.indicator,
        published.value::numeric as published_value,
        published.unit,
        published.certainty,
        published.source as published_in,
        nullif(published.cause_if_different, '') as cause_if_different,
        nullif(published.data_from, '')::date as data_from,
        nullif(published.data_to, '')::date as data_to,
        nullif(published_indicator.not_computable_because, '') as not_computable_because
    from {{ ref('published_figure') }} as published
    left join {{ ref('published_indicator') }} as published_indicator
        on published.indicator = published_indicator.indicator

),

-- Where the article does not state the end, the end of the year or quarter it speaks of.
dated as (

    select
        *,
        case
            when data_to is not null then data_to
            when period_label ~ '^[0-9]{4}$' then (data_from + interval '1 year - 1 day')::date
            when period_label ~ '^[0-9]{4}-Q[1-4]$' then (data_from + interval '3 months - 1 day')::date
        end as counted_to
    from figure

),

-- Old provinces alone: 82 is another province since 1/7/2025.
province as (

    select
        unit_code as province_code_old,
        agency_code as province_agency_code,
        source_code
    from {{ ref('dim_agency') }}
    where agency_level = 'PROVINCE' and code_form = 'old'

),

located as (

    select
        dated.*,
        province.province_agency_code,
        dated.counted_to - dated.data_from + 1 as days_in_period,
        (
            select count(*)
            from {{ ref('int_loads__covered_day') }} as covered_day
            where
                province.source_code = covered_day.source_code
                and covered_day.covered_date between dated.data_from and dated.counted_to
        ) as covered_days
    from dated
    left join province on dated.province_code_old = province.province_code_old

),

explained as (

    select
        *,
        case
            when not_computable_because is not null then not_computable_because
            when province_agency_code is null then 'no_dossiers_of_this_province'
            when counted_to is null or data_from is null then 'period_not_stated'
            when covered_days < days_in_period
                then 'covered_' || covered_days || '_of_' || days_in_period || '_days'
        end as reason
    from located

),

period as (

    select distinct
        province_agency_code,
        data_from,
        counted_to
    from explained
    where reason is null

),

received as (

    select
        period.province_agency_code,
        period.data_from,
        period.counted_to,
        dossier.channel,
        dossier.is_resolved and dossier.completed_date <= period.counted_to as is_resolved,
        (
            select bool_or(coalesce({{ is_fee_paid_online('fee.payment_method') }}, false))
            from {{ ref('fct_dossier_fee') }} as fee
            where dossier.dossier_key = fee.dossier_key and fee.is_current_record and fee.amount_vnd > 0
        ) as is_paid_online,
        dossier.origin
    from period
    inner join {{ ref('fct_service_index_dossier') }} as judged
        on
            judged.counted_month between date_trunc('month', period.data_from) and period.counted_to
            and period.province_agency_code = {{ province_root_of_agency('judged.responsible_agency_code') }}
    inner join {{ ref('fct_dossier') }} as dossier
        on
            judged.dossier_key = dossier.dossier_key
            and dossier.received_date between period.data_from and period.counted_to
            and dossier.report_group <> 'not_received'

),

counted as (

    select
        province_agency_code,
        data_from,
        counted_to,
        count(*) as received_count,
        count(*) filter (where {{ is_online_channel('channel') }}) as online_count,
        count(*) filter (where is_resolved) as resolved_count,
        -- Null where nothing is charged.
        count(is_paid_online) as charged_count,
        count(*) filter (where is_paid_online) as paid_online_count,
        max(origin) as origin
    from received
    group by province_agency_code, data_from, counted_to

),

computed as (

    select
        explained.*,
        case
            when explained.reason is not null then null
            when explained.indicator in ('dossiers_total', 'dossiers_entered_one_stop') then counted.received_count
            when explained.indicator = 'dossiers_online' then counted.online_count
            when explained.indicator = 'share_online'
                then round(100.0 * counted.online_count / counted.received_count, 2)
            when explained.indicator = 'dossiers_resolved' then counted.resolved_count
            when explained.indicator = 'dossiers_in_progress' then counted.received_count - counted.resolved_count
            when explained.indicator = 'share_online_payment'
                then round(100.0 * counted.paid_online_count / nullif(counted.charged_count, 0), 2)
        end as our_value,
        counted.origin
    from explained
    left join counted
        on
            explained.province_agency_code = counted.province_agency_code
            and explained.data_from = counted.data_from
            and explained.counted_to = counted.counted_to

),

compared as (

    select
        *,
        case
            when our_value is null then null
            when our_value = published_value then 'equal'
            -- What was invented says nothing of the province, whatever else may be the cause.
            when origin = 'simulated' then 'simulated_dossiers'
            else cause_if_different
        end as cause
    from computed

)

select
    compared.province_code_old,
    compared.province_name,
    compared.period_label,
    compared.indicator,
    compared.data_from,
    compared.data_to,
    compared.counted_to,
    compared.published_value::numeric(18, 2) as published_value,
    compared.our_value::numeric(18, 2) as our_value,
    (compared.our_value - compared.published_value)::numeric(18, 2) as difference,
    compared.unit,
    compared.certainty,
    compared.cause,
    cause_name.cause_vi,
    cause_name.cause_en,
    case when compared.our_value is null then coalesce(compared.reason, 'no_cases') end as not_computable_because,
    'responsible_agency' as grouped_by,
    compared.published_in,
    case when compared.our_value is not null then compared.origin end as origin
from compared
left join {{ ref('published_difference') }} as cause_name on compared.cause = cause_name.cause
