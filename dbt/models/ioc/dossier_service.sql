{{ config(indexes=[{'columns': ['place_kind', 'place_code', 'span']}]) }}

-- Received and resolved are counted as form II.06a counts them; stocks (open, overdue, due soon) are those at the end
-- of the last covered day, the same for each span.

with as_of as (

    select as_of_date from {{ ref('int_loads__as_of') }}

),

span as (

    select
        named.span,
        named.span_no,
        as_of.as_of_date,
        case named.span
            when 'today' then as_of.as_of_date
            else date_trunc(named.span, as_of.as_of_date)::date
        end as span_start
    from as_of
    cross join (values ('today', 1), ('month', 2), ('year', 3)) as named (span, span_no)
    where as_of.as_of_date is not null

),

-- Of what ended before the year nothing is shown any more.
holding as (

    select * from {{ ref('int_dossiers__holding') }}
    where left_date is null or left_date >= {{ first_day_of_the_covered_year() }}

),

with_fee as (

    select distinct fee.dossier_key
    from holding
    inner join {{ ref('fct_dossier_fee') }} as fee on holding.dossier_key = fee.dossier_key
    where
        holding.received_date >= {{ first_day_of_the_covered_year() }}
        and fee.is_current_record
        and fee.amount_vnd > 0

),

waiting as (

    select distinct history.dossier_key
    from holding
    cross join as_of
    inner join {{ ref('fct_dossier_status_history') }} as history on holding.dossier_key = history.dossier_key
    where
        {{ is_open_at_the_end_of('as_of.as_of_date', 'holding.since_date', 'holding.left_date') }}
        and {{ is_waiting_for_papers('history.status_code') }}
        and {{ is_open_at_the_end_of('as_of.as_of_date', 'history.valid_from_date', 'history.valid_to_date') }}

),

dossier as (

    select
        holding.*,
        {{ is_paid_online('holding.online_payment_code') }} as is_paid_online,
        with_fee.dossier_key is not null as has_fee,
        waiting.dossier_key is not null as is_waiting
    from holding
    left join with_fee on holding.dossier_key = with_fee.dossier_key
    left join waiting on holding.dossier_key = waiting.dossier_key

),

-- An agency has what it held at the time, a commune its applicants' dossiers, which their last holding shows.
placed as (

    select
        'responsible_agency' as place_kind,
        dossier.agency_code as place_code,
        null::boolean as is_before_reorganisation,
        null::boolean as is_place_known,
        case when dossier.came_by = 'receipt' then dossier.since_date end as counted_as_received,
        case when dossier.left_by = 'end' then dossier.left_date end as counted_as_resolved,
        dossier.since_date as open_since,
        dossier.*
    from dossier
    union all
    select
        'applicant_commune' as place_kind,
        coalesce(dossier.applicant_commune_code, '{{ var("unknown_code") }}') as place_code,
        {{ is_before_reorganisation('dossier.received_date') }} as is_before_reorganisation,
        {{ are_communes_known_on('dossier.received_date') }} as is_place_known,
        dossier.received_date as counted_as_received,
        dossier.left_date as counted_as_resolved,
        dossier.received_date as open_since,
        dossier.*
    from dossier
    where dossier.left_by is null or dossier.left_by = 'end'

),

judged as (

    select
        span.span,
        span.span_no,
        span.span_start,
        span.as_of_date,
        placed.place_kind,
        placed.place_code,
        placed.is_before_reorganisation,
        placed.is_place_known,
        placed.origin,
        placed.outcome,
        coalesce(placed.counted_as_received between span.span_start and span.as_of_date, false) as is_received,
        coalesce(placed.counted_as_resolved between span.span_start and span.as_of_date, false) as is_resolved,
        {{ is_open_at_the_end_of('span.as_of_date', 'placed.open_since', 'placed.left_date') }} as is_open,
        {{ is_overdue_while_open('placed.is_waiting', 'placed.due_date', 'span.as_of_date') }} as is_late,
        coalesce({{ is_due_soon('placed.due_date', 'span.as_of_date') }}, false) as is_due_soon,
        placed.is_online,
        placed.has_fee,
        placed.is_paid_online
    from placed
    cross join span

),

counted as (

    select
        span,
        span_no,
        span_start,
        as_of_date,
        place_kind,
        place_code,
        is_before_reorganisation,
        origin,
        bool_and(is_place_known) as is_place_known,
        (count(*) filter (where is_received))::integer as received,
        (count(*) filter (where is_resolved))::integer as resolved,
        (count(*) filter (where is_resolved and outcome = 'overdue'))::integer as resolved_overdue,
        (count(*) filter (where is_open))::integer as open_now,
        (count(*) filter (where is_open and is_late))::integer as overdue_now,
        (count(*) filter (where is_open and is_due_soon))::integer as due_in_3_days,
        (count(*) filter (where is_received and is_online))::integer as received_online,
        (count(*) filter (where is_received and has_fee))::integer as received_with_fee,
        (count(*) filter (where is_received and has_fee and is_paid_online))::integer as received_paid_online
    from judged
    where is_received or is_resolved or is_open
    group by span, span_no, span_start, as_of_date, place_kind, place_code, is_before_reorganisation, origin

),

-- Agencies with units below them, as one body: a dossier is received once and stands with one of them at a time, so
-- handovers inside change nothing, and all counts add up.
with_subordinates as (

    select
        counted.span,
        counted.span_no,
        counted.span_start,
        counted.as_of_date,
        'agency_with_subordinates' as place_kind,
        tree.agency_code as place_code,
        null::boolean as is_before_reorganisation,
        counted.origin,
        null::boolean as is_place_known,
        sum(counted.received)::integer as received,
        sum(counted.resolved)::integer as resolved,
        sum(counted.resolved_overdue)::integer as resolved_overdue,
        sum(counted.open_now)::integer as open_now,
        sum(counted.overdue_now)::integer as overdue_now,
        sum(counted.due_in_3_days)::integer as due_in_3_days,
        sum(counted.received_online)::integer as received_online,
        sum(counted.received_with_fee)::integer as received_with_fee,
        sum(counted.received_paid_online)::integer as received_paid_online
    from counted
    inner join {{ ref('bridge_agency_subordinate') }} as tree
        on counted.place_kind = 'responsible_agency' and counted.place_code = tree.subordinate_agency_code
    where
        exists (
            select 1
            from {{ ref('bridge_agency_subordinate') }} as below
            where tree.agency_code = below.agency_code and below.levels_below > 0
        )
    group by
        counted.span, counted.span_no, counted.span_start, counted.as_of_date, tree.agency_code, counted.origin

),

shown as (

    select * from counted
    union all
    select * from with_subordinates

)

select
    md5(
        concat_ws(
            '|', shown.span, shown.place_kind, shown.place_code, shown.is_before_reorganisation, shown.origin
        )
    ) as service_key,
    shown.span,
    shown.span_no,
    shown.span_start,
    shown.as_of_date,
    shown.place_kind,
    shown.place_code,
    case shown.place_kind
        when 'applicant_commune' then coalesce(unit.unit_name, {{ name_of_unknown_code('shown.place_code') }})
        else agency.agency_name
    end as place_name,
    shown.is_before_reorganisation,
    case
        when shown.place_kind = 'applicant_commune' then unit.unit_key is not null and shown.is_place_known
        else agency.agency_code is not null
    end as is_place_known,
    shown.received,
    shown.resolved,
    shown.resolved_overdue,
    shown.open_now,
    shown.overdue_now,
    shown.due_in_3_days,
    shown.received_online,
    (shown.received_online::numeric / nullif(shown.received, 0))::numeric(5, 4) as online_share,
    shown.received_with_fee,
    shown.received_paid_online,
    (shown.received_paid_online::numeric / nullif(shown.received_with_fee, 0))::numeric(5, 4) as payment_share,
    shown.origin
from shown
left join {{ ref('dim_agency') }} as agency
    on shown.place_kind <> 'applicant_commune' and shown.place_code = agency.agency_code
left join {{ ref('dim_administrative_unit') }} as unit
    on
        shown.place_kind = 'applicant_commune'
        and unit.unit_level = 'commune'
        and {{ administrative_unit_as_of(
            'unit', 'shown.place_code',
            "case when shown.is_before_reorganisation then '" ~ var('administrative_units_known_from')
            ~ "'::date else shown.as_of_date end"
        ) }}
