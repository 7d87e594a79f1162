{{ kept_by_month(months='int_dossiers__month', month_made=first_day_of_month('year_month')) }}

-- The hooks read these only in incremental runs, which dbt does not see when it parses.
-- depends_on: {{ ref('int_dossiers__month') }}
-- depends_on: {{ ref('int_dossiers__month_made') }}

-- Papers of the dossiers received in a month, by the system that received them, apart for papers handed in and results.
with paper as (

    select
        to_char(dossier.received_date, 'YYYY-MM') as year_month,
        dossier.source_code as system_code,
        case when paper.is_result then 'result' else 'handed_in' end as paper_kind,
        coalesce(paper.is_digitised, false) as is_digitised,
        dossier.origin
    from {{ ref('fct_dossier_paper') }} as paper
    inner join {{ ref('fct_dossier') }} as dossier on paper.dossier_key = dossier.dossier_key
    inner join {{ ref('int_loads__covered_day') }} as covered_day
        on dossier.source_code = covered_day.source_code and dossier.received_date = covered_day.covered_date
    where
        paper.is_current_record
        and dossier.report_group <> 'not_received'
        and {{ is_in_a_changed_month('dossier.received_date') }}

)

select
    paper.year_month,
    paper.system_code,
    paper.paper_kind,
    covered_month.is_provisional,
    paper.origin,
    (count(*) filter (where paper.is_digitised))::integer as digitised,
    (count(*) filter (where not paper.is_digitised))::integer as not_digitised
from paper
inner join {{ ref('int_loads__covered_month') }} as covered_month
    on paper.system_code = covered_month.source_code and paper.year_month = covered_month.year_month
group by paper.year_month, paper.system_code, paper.paper_kind, covered_month.is_provisional, paper.origin
