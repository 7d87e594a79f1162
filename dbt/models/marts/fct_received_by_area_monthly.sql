{{
    kept_by_month(
        key='received_by_area_key',
        month_made="to_date(year_month, 'YYYY-MM')"
    )
}}

-- The hooks read these only in incremental runs, which dbt does not see when it parses.
-- depends_on: {{ ref('int_dossiers__month') }}
-- depends_on: {{ ref('int_dossiers__month_made') }}

-- Dossiers migrated from elsewhere were received elsewhere, too: they count, once, where the applicant lives. What
-- became of them stands in the month of the receipt. Whether an open one is overdue changes with every day, so no month
-- of a kept table says it; the cookbook counts these from the facts.
with dossier as (

    select
        received_date,
        applicant_commune_code,
        is_online,
        is_resolved,
        is_resolved and coalesce(is_overdue, false) as is_resolved_overdue,
        origin,
        to_char(received_date, 'YYYY-MM') as year_month
    from {{ ref('fct_dossier') }}
    where report_group <> 'not_received' and {{ is_in_a_changed_month('received_date') }}

),

placed as (

    select
        dossier.year_month,
        dossier.is_online,
        dossier.is_resolved,
        dossier.is_resolved_overdue,
        dossier.origin,
        coalesce(area.area_code, 'unknown') as area_code,
        coalesce(area.area_name, 'Chưa xác định') as area_name,
        area.province_code,
        area.area_code is not null and {{ are_communes_known_on('dossier.received_date') }} as is_area_known
    from dossier
    left join {{ ref('dim_comparable_area') }} as area
        on {{ comparable_area_of('area', 'dossier.applicant_commune_code', 'dossier.received_date') }}

)

select
    year_month,
    area_code,
    area_name,
    province_code,
    origin,
    year_month || '|' || area_code || '|' || origin as received_by_area_key,
    bool_and(is_area_known) as is_area_known,
    count(*)::integer as received,
    (count(*) filter (where is_online))::integer as received_online,
    (count(*) filter (where is_resolved))::integer as resolved,
    (count(*) filter (where is_resolved_overdue))::integer as resolved_overdue
from placed
group by year_month, area_code, area_name, province_code, origin
