{{ kept_by_month(indexes=[{'columns': ['event_date']}]) }}

-- The hooks read these only in incremental runs, which dbt does not see when it parses.
-- depends_on: {{ ref('int_dossiers__month') }}
-- depends_on: {{ ref('int_dossiers__month_made') }}

-- What changes in the counts of form II.06a on each day. A stock is the sum of its changes, so any period is a sum, and
-- nothing is counted by subtraction. Dossiers of one month of receipt stand together, apart from those of others. A
-- day to come stands here as well: an open dossier becomes late by the passing of days alone.

with holding as (

    select
        *,
        case when due_date is not null then greatest(since_date, {{ first_day_past_due('due_date') }}) end as late_from
    from {{ ref('int_dossiers__holding') }}
    where {{ is_of_a_changed_month('received_month') }}

),

late as (

    select * from holding
    where late_from is not null and (left_date is null or left_date > late_from)

),

-- Waiting for papers counts as in time, however late.
waiting_late as (

    select
        late.agency_code,
        late.sector_name,
        late.origin,
        late.received_month,
        greatest(late.late_from, history.valid_from_date) as from_date,
        least(late.left_date, history.valid_to_date) as to_date
    from late
    inner join {{ ref('fct_dossier_status_history') }} as history
        on
            late.dossier_key = history.dossier_key
            and {{ is_waiting_for_papers('history.status_code') }}
    where
        (late.left_date is null or history.valid_from_date < late.left_date)
        and (history.valid_to_date is null or history.valid_to_date > late.late_from)
        and history.valid_from_date is distinct from history.valid_to_date

),

change as (

    select
        agency_code,
        sector_name,
        origin,
        received_month,
        since_date as event_date,
        (came_by = 'receipt' and is_online)::integer as new_online,
        (came_by = 'receipt' and not is_online)::integer as new_other,
        (came_by = 'handover')::integer as transferred_in,
        0 as resolved_early,
        0 as resolved_on_time,
        0 as resolved_overdue,
        0 as transferred_out,
        1 as open_change,
        0 as overdue_change
    from holding
    union all
    select
        agency_code,
        sector_name,
        origin,
        received_month,
        left_date as event_date,
        0 as new_online,
        0 as new_other,
        0 as transferred_in,
        (left_by = 'end' and outcome = 'early')::integer as resolved_early,
        (left_by = 'end' and outcome = 'on_time')::integer as resolved_on_time,
        (left_by = 'end' and outcome = 'overdue')::integer as resolved_overdue,
        (left_by = 'handover')::integer as transferred_out,
        -1 as open_change,
        0 as overdue_change
    from holding
    where left_date is not null
    union all
    select
        late_change.agency_code,
        late_change.sector_name,
        late_change.origin,
        late_change.received_month,
        late_change.event_date,
        0 as new_online,
        0 as new_other,
        0 as transferred_in,
        0 as resolved_early,
        0 as resolved_on_time,
        0 as resolved_overdue,
        0 as transferred_out,
        0 as open_change,
        late_change.overdue_change
    from (
        select
            agency_code,
            sector_name,
            origin,
            received_month,
            late_from as event_date,
            1 as overdue_change
        from late
        union all
        select
            agency_code,
            sector_name,
            origin,
            received_month,
            left_date as event_date,
            -1 as overdue_change
        from late
        union all
        select
            agency_code,
            sector_name,
            origin,
            received_month,
            from_date as event_date,
            -1 as overdue_change
        from waiting_late
        union all
        select
            agency_code,
            sector_name,
            origin,
            received_month,
            to_date as event_date,
            1 as overdue_change
        from waiting_late
    ) as late_change
    where late_change.event_date is not null

)

select
    change.agency_code,
    change.sector_name,
    change.origin,
    change.received_month,
    change.event_date,
    sum(change.new_online)::integer as new_online,
    sum(change.new_other)::integer as new_other,
    sum(change.transferred_in)::integer as transferred_in,
    sum(change.resolved_early)::integer as resolved_early,
    sum(change.resolved_on_time)::integer as resolved_on_time,
    sum(change.resolved_overdue)::integer as resolved_overdue,
    sum(change.transferred_out)::integer as transferred_out,
    sum(change.open_change)::integer as open_change,
    sum(change.overdue_change)::integer as overdue_change
from change
group by change.agency_code, change.sector_name, change.origin, change.received_month, change.event_date
