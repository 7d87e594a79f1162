{{ config(tags=['national']) }}

-- The portal's own counts as a source of reconciling: what its statistics say of a unit and period, beside ours and
-- those of its copy as its operator's file tells it. No lists come with them, so a count that differs names no
-- dossier; where the copy's count is the published one, the differences that are known explain it.

with explained as (

    select * from {{ ref('fct_service_index_explained') }}

),

-- All that was received: what 2.1 counts leaves out dossiers without any time limit.
received as (

    select
        unit_code,
        period,
        warehouse_denominator,
        portal_copy_denominator
    from explained
    where indicator_code = 'ONLINE_DOSSIER'

),

counted as (

    select
        explained.unit_code,
        explained.unit_name,
        explained.period,
        counts.count_name,
        counts.count_here,
        counts.count_held,
        counts.count_there,
        explained.warehouse_coverage,
        explained.portal_copy_coverage,
        explained.origin
    from explained
    left join received on explained.unit_code = received.unit_code and explained.period = received.period
    cross join
        lateral (
            values
            (
                'PROGRESS_ON_TIME', 'received', received.warehouse_denominator, received.portal_copy_denominator,
                explained.published_denominator
            ),
            (
                'PROGRESS_ON_TIME', 'on_time', explained.warehouse_numerator, explained.portal_copy_numerator,
                explained.published_numerator
            ),
            (
                'DOSSIER_SYNC', 'synchronised', explained.warehouse_numerator, explained.portal_copy_numerator,
                explained.published_numerator
            ),
            (
                'ONLINE_DOSSIER', 'online', explained.warehouse_numerator, explained.portal_copy_numerator,
                explained.published_numerator
            ),
            (
                'PAYMENT_DOSSIER', 'with_duty', explained.warehouse_denominator, explained.portal_copy_denominator,
                explained.published_denominator
            ),
            (
                'PAYMENT_DOSSIER', 'paid_online', explained.warehouse_numerator, explained.portal_copy_numerator,
                explained.published_numerator
            ),
            (
                'ORIGINAL_RESULT_AVAILABLE', 'with_result', explained.warehouse_numerator,
                explained.portal_copy_numerator, explained.published_numerator
            )
        ) as counts (indicator_code, count_name, count_here, count_held, count_there)
    where explained.indicator_code = counts.indicator_code and counts.count_there is not null

)

select
    unit_code,
    unit_name,
    period,
    count_name,
    count_here::bigint as count_here,
    count_held::bigint as count_held,
    count_there::bigint as count_there,
    (count_there - count_here)::bigint as difference,
    case
        when count_here is null then 'not_here'
        -- Of a part of the period we know nothing.
        when warehouse_coverage !~ '^COVERED_([0-9]+)_OF_\1_DAYS$' then 'not_covered'
        when count_there = count_here then 'same'
        else 'counts_differ'
    end as difference_class,
    count_there = count_held as is_explained_by_dossiers,
    warehouse_coverage,
    portal_copy_coverage,
    origin
from counted
