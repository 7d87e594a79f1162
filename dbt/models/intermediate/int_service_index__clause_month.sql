{{
    kept_by_month(
        months='int_service_index__month', month_made='counted_month', indexes=[{'columns': ['counted_month']}]
    )
}}

-- The hooks read these only in incremental runs, which dbt does not see when it parses.
-- depends_on: {{ ref('int_service_index__month') }}
-- depends_on: {{ ref('int_dossiers__month_made') }}

-- What the period decides (no end yet) is not in here: it changes by the passing of days alone.
select
    counted_month,
    first_source_code as source_code,
    department_code,
    indicator_code,
    split_part(decided, ':', 1) as outcome,
    split_part(decided, ':', 2) as clause,
    -- What counts procedures needs to know which.
    case when counts_procedures then procedure_code end as procedure_code,
    count(*) as dossier_count,
    max(origin) as origin,
    max(load_number) as load_number
from {{ ref('int_service_index__dossier') }}
where
    decided not like 'open:%'
    and counted_month is not null
    and {{ is_of_a_changed_month('counted_month', 'int_service_index__month') }}
group by
    counted_month,
    first_source_code,
    department_code,
    indicator_code,
    decided,
    case when counts_procedures then procedure_code end
