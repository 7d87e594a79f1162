{{
    config(
        materialized='view',
        post_hook='alter view {{ this }} set (security_invoker = true)',
    )
}}

-- Where a number of form II.06a comes from. Rights are those of who asks: an agency sees in it what it may see of the
-- form and of the facts. Nothing is materialized on the way: a question about one agency reads its dossiers only.

with dossier as not materialized (

    select
        *,
        {{ end_date_in_form_06a('is_resolved', 'completed_date', 'received_date') }} as end_date
    from {{ ref('fct_dossier') }}
    where {{ is_counted_in_form_06a('report_group', 'completed_date') }}

),

handover as not materialized (

    select
        dossier_key,
        handover_no,
        from_agency_code,
        to_agency_code,
        handover_date,
        lead(handover_date) over (partition by dossier_key order by handover_no) as next_date
    from {{ ref('fct_handover') }}

),

holding as not materialized (

    {{ holdings_of(
        'dossier', 'handover',
        carried=['dossier_code', 'procedure_code', 'responsible_agency_code', 'received_date', 'completed_date']
    ) }}

),

form as (

    select * from {{ ref('fct_form_06a') }}

),

-- A dossier within a period of the form: what is dated after the judged day has not happened yet.
in_period as (

    select
        form.form_key,
        form.period_kind,
        form.closing,
        form.period,
        form.period_start,
        form.judged_date,
        holding.*,
        holding.since_date >= form.period_start as has_come,
        coalesce(holding.left_date <= form.judged_date, false) as has_left,
        {{ is_past_due('holding.due_date', 'form.judged_date') }} as is_past_due
    from form
    inner join holding
        on
            form.agency_code = holding.agency_code
            and form.sector_name = holding.sector_name
            and form.origin = holding.origin
            and holding.since_date <= form.judged_date
            and (holding.left_date is null or holding.left_date >= form.period_start)

),

open_then as (

    select
        in_period.*,
        case
            when not in_period.has_left and in_period.is_past_due
                then exists (
                    select 1
                    from {{ ref('fct_dossier_status_history') }} as history
                    where
                        in_period.dossier_key = history.dossier_key
                        and {{ is_waiting_for_papers('history.status_code') }}
                        and {{ is_open_at_the_end_of(
                            'in_period.judged_date', 'history.valid_from_date', 'history.valid_to_date'
                        ) }}
                )
            else false
        end as is_waiting
    from in_period

),

judged as (

    select
        open_then.*,
        {{ is_overdue_while_open('open_then.is_waiting', 'open_then.due_date', 'open_then.judged_date') }} as is_overdue
    from open_then

)

select
    judged.form_key,
    judged.agency_code,
    judged.sector_name,
    judged.period_kind,
    judged.closing,
    judged.period,
    cell.cell_code,
    cell.cell_no,
    judged.dossier_key,
    judged.dossier_code,
    judged.responsible_agency_code,
    judged.procedure_code,
    judged.received_date,
    judged.due_date,
    judged.completed_date,
    judged.since_date,
    judged.left_date,
    judged.origin
from judged
cross join
    lateral (
        values
        ('new_online', 4, judged.has_come and judged.came_by = 'receipt' and judged.is_online),
        ('new_other', 5, judged.has_come and judged.came_by = 'receipt' and not judged.is_online),
        ('carried_over', 6, not judged.has_come),
        ('resolved_early', 8, judged.has_left and judged.left_by = 'end' and judged.outcome = 'early'),
        ('resolved_on_time', 9, judged.has_left and judged.left_by = 'end' and judged.outcome = 'on_time'),
        ('resolved_overdue', 10, judged.has_left and judged.left_by = 'end' and judged.outcome = 'overdue'),
        ('open_in_time', 12, not judged.has_left and not judged.is_overdue),
        ('open_overdue', 13, not judged.has_left and judged.is_overdue),
        ('transferred_in', 14, judged.has_come and judged.came_by = 'handover'),
        ('transferred_out', 15, judged.has_left and judged.left_by = 'handover')
    ) as cell (cell_code, cell_no, is_counted)
where cell.is_counted
