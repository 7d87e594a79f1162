-- An event counts where the load log covers its day in the system it happened in: a window also brings in dossiers of
-- other days, of which it does not hold all.
select
    happened.dossier_key,
    happened.event_kind,
    happened.event_date,
    to_char(happened.event_date, 'YYYY-MM') as year_month,
    to_char(happened.event_date, 'YYYY-"Q"Q') as year_quarter,
    happened.system_code,
    happened.responsible_agency_code,
    happened.procedure_code,
    happened.sector_group,
    happened.channel_group,
    happened.channel_group_name,
    happened.applicant_commune_code,
    happened.received_date,
    happened.completed_date,
    happened.origin,
    happened.load_number
from {{ ref('int_dossiers__happened') }} as happened
inner join {{ ref('int_loads__covered_day') }} as covered_day
    on happened.system_code = covered_day.source_code and happened.event_date = covered_day.covered_date
