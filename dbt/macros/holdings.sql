{#-
  Who was responsible for a dossier from which day to which. A holding begins by the receipt or a handover and ends by
  a handover or the dossier's end; a dossier is open at the end of a day with the one agency that holds it then.
  A dossier without handovers stands with the agency that decides now from its receipt on: where systems name two
  agencies and no decision moved it, nobody knows the day.
  Names two relations of the query it ends: `dossier`, those that form II.06a counts with their end_date, and `handover`,
  theirs with next_date. `carried`: further columns of the dossier.
-#}
{% macro holdings_of(dossier, handover, carried=[]) -%}
select
    stretch.dossier_key,
    stretch.holding_no,
    stretch.agency_code,
    stretch.since_date,
    coalesce(stretch.handed_over_date, held.end_date) as left_date,
    stretch.came_by,
    case
        when stretch.handed_over_date is not null then 'handover'
        when held.end_date is not null then 'end'
    end as left_by,
    {{ outcome_in_form_06a('held.report_group', 'held.completed_date', 'held.due_date') }} as outcome,
    held.due_date,
    held.is_online,
    coalesce(held.sector_name, '{{ var("unknown_sector_name") }}') as sector_name,
    held.origin,
    {% for column in carried -%}
    held.{{ column }},
    {% endfor -%}
    {{ month_of('held.received_date') }} as received_month
from (
    select
        received.dossier_key,
        0 as holding_no,
        received.responsible_agency_code as agency_code,
        received.received_date as since_date,
        null::date as handed_over_date,
        'receipt' as came_by
    from {{ dossier }} as received
    left join {{ handover }} as first_one
        on received.dossier_key = first_one.dossier_key and first_one.handover_no = 1
    where first_one.dossier_key is null
    union all
    select
        received.dossier_key,
        0 as holding_no,
        first_one.from_agency_code as agency_code,
        received.received_date as since_date,
        first_one.handover_date as handed_over_date,
        'receipt' as came_by
    from {{ handover }} as first_one
    inner join {{ dossier }} as received on first_one.dossier_key = received.dossier_key
    where first_one.handover_no = 1 and first_one.from_agency_code is not null
    union all
    select
        dossier_key,
        handover_no as holding_no,
        coalesce(to_agency_code, '{{ var("unknown_code") }}') as agency_code,
        handover_date as since_date,
        next_date as handed_over_date,
        'handover' as came_by
    from {{ handover }}
) as stretch
inner join {{ dossier }} as held on stretch.dossier_key = held.dossier_key
{%- endmacro %}
