{{ kept_by_month(months='int_dossiers__event_month', month_made=first_day_of_month('year_month')) }}

-- The hooks read these only in incremental runs, which dbt does not see when it parses.
-- depends_on: {{ ref('int_dossiers__event_month') }}
-- depends_on: {{ ref('int_dossiers__month_made') }}

-- No sum of the counts and no stock of open dossiers stands here: with either, a withheld count could be
-- found by subtraction.
select
    happened.year_month,
    happened.system_code,
    happened.sector_group,
    happened.channel_group,
    happened.channel_group_name,
    (count(*) filter (where happened.event_kind = 'received'))::integer as received,
    (count(*) filter (where happened.event_kind = 'resolved_on_time'))::integer as resolved_on_time,
    (count(*) filter (where happened.event_kind = 'resolved_overdue'))::integer as resolved_overdue,
    covered_month.covered_days,
    covered_month.is_provisional,
    happened.origin
from {{ ref('int_dossiers__event') }} as happened
inner join {{ ref('int_loads__covered_month') }} as covered_month
    on happened.system_code = covered_month.source_code and happened.year_month = covered_month.year_month
where {{ is_in_a_changed_month('happened.event_date', 'int_dossiers__event_month') }}
group by
    happened.year_month, happened.system_code, happened.sector_group, happened.channel_group,
    happened.channel_group_name, covered_month.covered_days, covered_month.is_provisional, happened.origin
