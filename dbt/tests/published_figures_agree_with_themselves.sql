-- A value of ours or the reason why there is none, never both; a difference and its cause belong to a value; and what
-- the indicators say of one province and period fits together.
with figure as (

    select * from {{ ref('fct_published_figure') }}

),

counted as (

    select
        province_code_old,
        data_from,
        counted_to,
        max(our_value) filter (where indicator in ('dossiers_total', 'dossiers_entered_one_stop')) as received,
        max(our_value) filter (where indicator = 'dossiers_online') as received_online,
        max(our_value) filter (where indicator = 'share_online') as share_online,
        max(our_value) filter (where indicator = 'dossiers_resolved') as resolved,
        max(our_value) filter (where indicator = 'dossiers_in_progress') as in_progress
    from figure
    group by province_code_old, data_from, counted_to

)

select
    indicator,
    period_label
from figure
where
    (our_value is null) <> (not_computable_because is not null)
    or (our_value is null) <> (cause is null)
    or difference is distinct from our_value - published_value
    or (cause = 'equal') <> (difference = 0)
    or (cause is not null and (cause_vi is null or cause_en is null))
    or (our_value is null) <> (origin is null)
    or our_value < 0
    or (unit = 'percent' and our_value > 100)
union all
select
    'sums' as indicator,
    province_code_old as period_label
from counted
where
    resolved + in_progress <> received
    or received_online > received
    or share_online <> round(100 * received_online / received, 2)
