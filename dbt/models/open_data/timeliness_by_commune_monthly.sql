-- The results of communes' committees alone, by the commune they govern: late dossiers by commune, month after month.
-- A commune's committee has another code and another ground before and since 1/7/2025; its area is the same.
with commune as (

    select
        'new' as code_form,
        unit_code,
        unit_name
    from {{ ref('commune_new') }}
    union all
    select
        'old' as code_form,
        unit_code,
        unit_name
    from {{ ref('commune_old') }}

)

select
    result.year_month,
    result.agency_code,
    commune.unit_code as commune_code,
    coalesce(commune.unit_name, result.agency_name) as commune_name,
    result.area_code,
    result.area_name,
    sum(result.received)::integer as received,
    sum(result.resolved_on_time)::integer as resolved_on_time,
    sum(result.resolved_overdue)::integer as resolved_overdue,
    round(
        100.0 * sum(result.resolved_overdue) / nullif(sum(result.resolved_on_time + result.resolved_overdue), 0), 2
    )::numeric(5, 2) as overdue_percent,
    bool_or(result.is_provisional) as is_provisional,
    result.origin
from {{ ref('dossier_results_by_agency_monthly') }} as result
inner join {{ ref('dim_agency') }} as agency on result.agency_code = agency.agency_code
left join commune on agency.unit_code = commune.unit_code and agency.code_form = commune.code_form
where result.agency_level = 'COMMUNE'
group by
    result.year_month, result.agency_code, commune.unit_code, commune.unit_name, result.agency_name, result.area_code,
    result.area_name, result.origin
