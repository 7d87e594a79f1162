-- One row for each dossier and indicator, with the clause that counts it or leaves it out: where a number comes from.
with judged as (

    select * from {{ ref('int_service_index__judged') }}

)

select
    judged.dossier_key,
    judged.first_source_code,
    judged.department_code,
    judged.procedure_code,
    judged.counted_month,
    clause.indicator_code,
    clause.counts_procedures,
    split_part(clause.decided, ':', 1) as outcome,
    split_part(clause.decided, ':', 2) as clause,
    clause.decided,
    case when clause.indicator_code = 'PROGRESS_ON_TIME' then judged.open_limit_date end as open_limit_date,
    judged.origin,
    judged.load_number
from judged
cross join lateral (
    values
    ('DOSSIER_SYNC', false, judged.dossier_sync),
    ('PROGRESS_ON_TIME', false, judged.progress_on_time),
    ('ONLINE_DOSSIER', false, judged.online_dossier),
    ('ONLINE_DOSSIER_BY_NOTE', false, judged.online_dossier_by_note),
    ('ONLINE_SERVICE_USED', true, judged.online_service_used),
    ('PAYMENT_SERVICE_USED', true, judged.payment_service_used),
    ('PAYMENT_DOSSIER', false, judged.payment_dossier),
    ('ORIGINAL_RESULT_AVAILABLE', false, judged.original_result_available),
    ('SO_HOA_GIAY_TO_GIAI_QUYET', false, judged.papers_and_result_digitised),
    ('REUSED_DIGITIZED_DATA', false, judged.reused_digitised_data),
    ('SYNCED_WITH_DVCQG_PERSONAL_STORAGE', false, judged.synced_with_personal_storage),
    ('CITIZEN_DATA_CONNECTED_DOSSIER', false, judged.citizen_data_connected)
) as clause (indicator_code, counts_procedures, decided)
