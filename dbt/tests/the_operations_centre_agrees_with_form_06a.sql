-- What the operations centre shows of an agency in the running month is the running month's form, and what it shows by
-- commune adds up to the same dossiers: of those received, without the ones that only arrived here by a handover.
with by_centre as (

    select
        place_code as agency_code,
        origin,
        sum(received) as received,
        sum(resolved) as resolved,
        sum(resolved_overdue) as resolved_overdue,
        sum(open_now) as open_now,
        sum(overdue_now) as overdue_now
    from {{ ref('dossier_service') }}
    where place_kind = 'responsible_agency' and span = 'month'
    group by place_code, origin

),

by_form as (

    select
        agency_code,
        origin,
        sum(new_online + new_other) as received,
        sum(resolved_total) as resolved,
        sum(resolved_overdue) as resolved_overdue,
        sum(open_total) as open_now,
        sum(open_overdue) as overdue_now
    from {{ ref('fct_form_06a') }}
    where
        period_kind = 'month'
        and closing = 'calendar'
        and period = (select to_char(last_day.as_of_date, 'YYYY-MM') from {{ ref('as_of_day') }} as last_day)
    group by agency_code, origin

),

by_commune as (

    select
        span,
        sum(resolved) filter (where place_kind = 'responsible_agency')
        - sum(resolved) filter (where place_kind = 'applicant_commune') as resolved,
        sum(open_now) filter (where place_kind = 'responsible_agency')
        - sum(open_now) filter (where place_kind = 'applicant_commune') as open_now,
        sum(overdue_now) filter (where place_kind = 'responsible_agency')
        - sum(overdue_now) filter (where place_kind = 'applicant_commune') as overdue_now
    from {{ ref('dossier_service') }}
    group by span

)

select
    coalesce(by_centre.agency_code, by_form.agency_code) as place,
    'form' as against
from by_centre
full join by_form on by_centre.agency_code = by_form.agency_code and by_centre.origin = by_form.origin
where
    coalesce(by_centre.received, 0) <> coalesce(by_form.received, 0)
    or coalesce(by_centre.resolved, 0) <> coalesce(by_form.resolved, 0)
    or coalesce(by_centre.resolved_overdue, 0) <> coalesce(by_form.resolved_overdue, 0)
    or coalesce(by_centre.open_now, 0) <> coalesce(by_form.open_now, 0)
    or coalesce(by_centre.overdue_now, 0) <> coalesce(by_form.overdue_now, 0)
union all
select
    span as place,
    'communes' as against
from by_commune
where resolved <> 0 or open_now <> 0 or overdue_now <> 0
