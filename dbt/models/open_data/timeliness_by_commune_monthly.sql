-- By where the applicant lives, in areas that are the same before and since 1/7/2025, and by the month of resolution.
-- An event counts where the load log covers its day. No total stands here: on time and overdue are all there are.
with resolved as (

    select
        to_char(dossier.completed_date, 'YYYY-MM') as year_month,
        coalesce(area.area_code, 'unknown') as area_code,
        coalesce(area.area_name, 'Chưa xác định') as area_name,
        dossier.is_overdue,
        dossier.origin
    from {{ ref('fct_dossier') }} as dossier
    inner join {{ ref('int_loads__covered_day') }} as covered_day
        on dossier.source_code = covered_day.source_code and dossier.completed_date = covered_day.covered_date
    left join {{ ref('dim_comparable_area') }} as area
        on {{ comparable_area_of('area', 'dossier.applicant_commune_code', 'dossier.received_date') }}
    where dossier.report_group <> 'not_received' and dossier.is_resolved

),

month_covered as (

    -- A month some of whose days no load covers may still change.
    select
        to_char(covered_date, 'YYYY-MM') as year_month,
        count(distinct covered_date) < extract(day from (
            date_trunc('month', min(covered_date)) + interval '1 month' - interval '1 day'
        )) as is_provisional
    from {{ ref('int_loads__covered_day') }}
    group by to_char(covered_date, 'YYYY-MM')

)

select
    resolved.year_month,
    resolved.area_code,
    resolved.area_name,
    month_covered.is_provisional,
    resolved.origin,
    (count(*) filter (where not resolved.is_overdue))::integer as resolved_on_time,
    (count(*) filter (where resolved.is_overdue))::integer as resolved_overdue
from resolved
inner join month_covered on resolved.year_month = month_covered.year_month
group by
    resolved.year_month, resolved.area_code, resolved.area_name, month_covered.is_provisional, resolved.origin
