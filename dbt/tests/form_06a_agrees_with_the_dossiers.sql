{% set first_day = first_day_not_tested() %}

-- The form's months say what the dossiers and handovers say when counted one by one: received and resolved over the
-- whole warehouse, handed over by agency, open and overdue by agency and sector at each month's end.
with as_of as (

    select as_of_date from {{ ref('int_loads__as_of') }}

),

form as (

    select * from {{ ref('fct_form_06a') }}
    where period_kind = 'month' and closing = 'calendar' and period_end >= {{ first_day }}

),

dossier as (

    select
        fact.*,
        greatest(fact.completed_date, fact.received_date) as ended_date,
        coalesce(from_outside.dossier_key is not null, false) as is_from_outside
    from {{ ref('fct_dossier') }} as fact
    left join {{ ref('fct_handover') }} as from_outside
        on
            fact.dossier_key = from_outside.dossier_key
            and from_outside.handover_no = 1
            and from_outside.from_agency_code is null
    where
        (fact.received_date >= {{ first_day }} or fact.completed_date >= {{ first_day }})
        and fact.report_group <> 'not_received'
        and not (fact.report_group in ('resolved', 'withdrawn') and fact.completed_date is null)

),

counted as (

    select
        'received' as what,
        to_char(dossier.received_date, 'YYYY-MM') as cell,
        count(*) as by_hand,
        0 as by_form
    from dossier
    cross join as_of
    where
        not dossier.is_from_outside and dossier.received_date between {{ first_day }} and as_of.as_of_date
    group by to_char(dossier.received_date, 'YYYY-MM')
    union all
    select
        'received' as what,
        period as cell,
        0 as by_hand,
        sum(new_online + new_other) as by_form
    from form
    group by period
    union all
    select
        'resolved' as what,
        to_char(dossier.ended_date, 'YYYY-MM') as cell,
        count(*) as by_hand,
        0 as by_form
    from dossier
    cross join as_of
    where
        dossier.report_group in ('resolved', 'withdrawn')
        and dossier.ended_date between {{ first_day }} and as_of.as_of_date
    group by to_char(dossier.ended_date, 'YYYY-MM')
    union all
    select
        'resolved' as what,
        period as cell,
        0 as by_hand,
        sum(resolved_total) as by_form
    from form
    group by period
    union all
    select
        'handed over' as what,
        coalesce(handover.from_agency_code, 'outside') || ' ' || to_char(handover.handover_date, 'YYYY-MM') as cell,
        count(*) as by_hand,
        0 as by_form
    from {{ ref('fct_handover') }} as handover
    cross join as_of
    where
        handover.from_agency_code is not null
        and handover.handover_date between {{ first_day }} and as_of.as_of_date
    group by handover.from_agency_code, to_char(handover.handover_date, 'YYYY-MM')
    union all
    select
        'handed over' as what,
        agency_code || ' ' || period as cell,
        0 as by_hand,
        sum(transferred_out) as by_form
    from form
    where transferred_out > 0
    group by agency_code, period
    union all
    select
        'taken over' as what,
        coalesce(handover.to_agency_code, '{{ var("unknown_code") }}') || ' '
        || to_char(handover.handover_date, 'YYYY-MM') as cell,
        count(*) as by_hand,
        0 as by_form
    from {{ ref('fct_handover') }} as handover
    cross join as_of
    where handover.handover_date between {{ first_day }} and as_of.as_of_date
    group by handover.to_agency_code, to_char(handover.handover_date, 'YYYY-MM')
    union all
    select
        'taken over' as what,
        agency_code || ' ' || period as cell,
        0 as by_hand,
        sum(transferred_in) as by_form
    from form
    where transferred_in > 0
    group by agency_code, period
    union all
    select
        'open' as what,
        concat_ws(' ', agency_code, sector_name, origin, year_month) as cell,
        open_dossiers as by_hand,
        0 as by_form
    from {{ ref('fct_open_dossier_monthly') }}
    where judged_date >= {{ first_day }}
    union all
    select
        'open' as what,
        concat_ws(' ', agency_code, sector_name, origin, period) as cell,
        0 as by_hand,
        open_total as by_form
    from form
    union all
    select
        'overdue' as what,
        concat_ws(' ', agency_code, sector_name, origin, year_month) as cell,
        open_overdue as by_hand,
        0 as by_form
    from {{ ref('fct_open_dossier_monthly') }}
    where judged_date >= {{ first_day }}
    union all
    select
        'overdue' as what,
        concat_ws(' ', agency_code, sector_name, origin, period) as cell,
        0 as by_hand,
        open_overdue as by_form
    from form

)

select
    what,
    cell,
    sum(by_hand) as by_hand,
    sum(by_form) as by_form
from counted
group by what, cell
having sum(by_hand) <> sum(by_form)
