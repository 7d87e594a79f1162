{{ kept_by_month(indexes=[{'columns': ['dossier_key']}, {'columns': ['left_date']}]) }}

-- The hooks read these only in incremental runs, which dbt does not see when it parses.
-- depends_on: {{ ref('int_dossiers__month') }}
-- depends_on: {{ ref('int_dossiers__month_made') }}

-- Who was responsible for a dossier from which day to which. A holding begins by the receipt or a handover and ends by
-- a handover or the dossier's end; a dossier is open at the end of a day with the one agency that holds it then.
-- A dossier without handovers stands with the agency that decides now from its receipt on: where systems name two
-- agencies and no decision moved it, nobody knows the day.

with dossier as (

    select
        *,
        {{ end_date_in_form_06a('is_resolved', 'completed_date', 'received_date') }} as end_date
    from {{ ref('fct_dossier') }}
    where
        {{ is_counted_in_form_06a('report_group', 'completed_date') }}
        and {{ is_of_a_changed_month(month_of('received_date')) }}

),

handover as (

    select
        dossier_key,
        handover_no,
        from_agency_code,
        to_agency_code,
        handover_date,
        lead(handover_date) over (partition by dossier_key order by handover_no) as next_date
    from {{ ref('fct_handover') }}
    {% if is_incremental() %}
        where dossier_key in (select dossier.dossier_key from dossier)
    {% endif %}

),

stretch as (

    select
        dossier.dossier_key,
        0 as holding_no,
        dossier.responsible_agency_code as agency_code,
        dossier.received_date as since_date,
        null::date as handed_over_date,
        'receipt' as came_by
    from dossier
    left join handover on dossier.dossier_key = handover.dossier_key and handover.handover_no = 1
    where handover.dossier_key is null
    union all
    select
        dossier.dossier_key,
        0 as holding_no,
        handover.from_agency_code as agency_code,
        dossier.received_date as since_date,
        handover.handover_date as handed_over_date,
        'receipt' as came_by
    from handover
    inner join dossier on handover.dossier_key = dossier.dossier_key
    where handover.handover_no = 1 and handover.from_agency_code is not null
    union all
    select
        dossier_key,
        handover_no as holding_no,
        coalesce(to_agency_code, '{{ var("unknown_code") }}') as agency_code,
        handover_date as since_date,
        next_date as handed_over_date,
        'handover' as came_by
    from handover

)

select
    stretch.dossier_key,
    stretch.holding_no,
    stretch.agency_code,
    stretch.since_date,
    coalesce(stretch.handed_over_date, dossier.end_date) as left_date,
    stretch.came_by,
    case
        when stretch.handed_over_date is not null then 'handover'
        when dossier.end_date is not null then 'end'
    end as left_by,
    {{ outcome_in_form_06a('dossier.report_group', 'dossier.completed_date', 'dossier.due_date') }} as outcome,
    dossier.due_date,
    dossier.is_online,
    coalesce(dossier.sector_name, '{{ var("unknown_sector_name") }}') as sector_name,
    dossier.origin,
    {{ month_of('dossier.received_date') }} as received_month
from stretch
inner join dossier on stretch.dossier_key = dossier.dossier_key
