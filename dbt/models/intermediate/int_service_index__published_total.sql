-- The portal publishes some indicators as numerator and denominator, others as the counts they are made of.

with evaluation as (

    select * from {{ ref('stg_national_portal__evaluation') }}

),

indicator as (

    select indicator_code from {{ ref('service_index_indicator') }}

),

-- What an indicator is made of: numerators are added up. [guess] Nobody tells which of the payment totals is 3.4 and
-- which 3.5. Of a department that had all of its 110 dossiers paid online (H44.07, Q3/2026) the one is 12 of 13
-- procedures, the other 0: so the former counts those with payments.
part as (

    select
        part.indicator_code,
        part.is_denominator,
        part.metric_code,
        count(*) filter (where not part.is_denominator) over (partition by part.indicator_code) as summed_parts
    from (
        values
        ('ONLINE_PROVISION', false, 'partialCount'),
        ('ONLINE_PROVISION', false, 'fullCount'),
        ('ONLINE_PROVISION', true, 'authorityCount'),
        ('ONLINE_SERVICE_USED', false, 'onlineDossierCount'),
        ('ONLINE_SERVICE_USED', true, 'onlineServiceTotal'),
        ('ONLINE_DOSSIER', false, 'channelOnlineSum'),
        ('ONLINE_DOSSIER', true, 'channelTotalSum'),
        ('PAYMENT_PROVISION', false, 'totalFeeDossierFormality'),
        ('PAYMENT_PROVISION', true, 'totalFeeFormality'),
        ('PAYMENT_SERVICE_USED', false, 'totalDossierOnlineFormalityPaymentSuccess'),
        ('PAYMENT_SERVICE_USED', true, 'totalFeeFormality'),
        ('PAYMENT_DOSSIER', false, 'totalDossierOnlinePaymentSuccess'),
        ('PAYMENT_DOSSIER', true, 'totalDossierFinancialObligation')
    ) as part (indicator_code, is_denominator, metric_code)

),

direct as (

    select
        source_code,
        period,
        root_department_id,
        department_id,
        department_code,
        department_name,
        case when endpoint = 'dvc-progress-tree' then 'PROGRESS_ON_TIME' else metric_code end as indicator_code,
        numerator,
        denominator,
        score as published_score,
        data_quality_status,
        captured_at,
        origin,
        load_number
    from evaluation
    where
        (endpoint = 'dvc-progress-tree' and metric_code = 'TDGQ')
        or metric_code in (select indicator.indicator_code from indicator)

),

added as (

    select
        evaluation.source_code,
        evaluation.period,
        evaluation.root_department_id,
        evaluation.department_id,
        evaluation.department_code,
        evaluation.department_name,
        part.indicator_code,
        -- A part that is not published leaves the sum unknown.
        case
            when
                count(evaluation.numerator) filter (where not part.is_denominator) = max(part.summed_parts)
                then sum(evaluation.numerator) filter (where not part.is_denominator)
        end as numerator,
        sum(evaluation.numerator) filter (where part.is_denominator) as denominator,
        -- The portal publishes the points of the whole group only.
        null::numeric as published_score,
        max(evaluation.data_quality_status) as data_quality_status,
        max(evaluation.captured_at) as captured_at,
        evaluation.origin,
        max(evaluation.load_number) as load_number
    from evaluation
    inner join part on evaluation.metric_code = part.metric_code
    where evaluation.endpoint in ('provide-online-tree', 'formality-online-payment-tree')
    group by
        evaluation.source_code,
        evaluation.period,
        evaluation.root_department_id,
        evaluation.department_id,
        evaluation.department_code,
        evaluation.department_name,
        evaluation.origin,
        part.indicator_code

)

select * from direct
union all
select * from added
