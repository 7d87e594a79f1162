-- Without a WITH, as all views of large tables: behind such a view PostgreSQL finds a few rows by their keys, else it
-- reads all of them.
select
    -- identifiers
    link.dossier_key,
    link.source_code,
    link.dossier_id,
    dossier.dossier_code,
    dossier.national_code,
    dossier.previous_code,
    link.first_source_code,
    link.first_dossier_id,
    link.record_count,

    -- migrated from a system that the warehouse does not hold
    dossier.previous_code is not null and link.record_count = 1 as is_transferred_in,

    -- procedure
    dossier.procedure_code_as_written,
    {{ national_procedure_code('dossier.procedure_code_as_written') }} as procedure_code,
    dossier.procedure_name,
    dossier.sector_code,
    {{ in_one_spelling('dossier.sector_name') }} as sector_name,
    dossier.service_level,
    coalesce(dossier.channel, {{ var('channel_when_missing') }})::smallint as channel,

    -- applicant
    dossier.applicant_type,
    dossier.applicant_token,
    pseudonym.pseudonym as applicant_pseudonym,
    dossier.applicant_commune_code,

    -- agencies: the first system knows who received, the newest one who decides
    coalesce(first_record.receiving_agency_code, dossier.receiving_agency_code) as receiving_agency_code,
    dossier.responsible_agency_code,

    -- moments
    coalesce(first_record.submitted_at, dossier.submitted_at) as submitted_at,
    coalesce(first_record.received_at, dossier.received_at) as received_at,
    dossier.due_at,
    dossier.completed_at,
    dossier.returned_at,

    -- state; a status that is not mapped says nothing of an end, so the dossier counts as open
    dossier.source_status_code,
    source_status.status_code::smallint as status_code,
    coalesce(status.report_group, 'open') as report_group,
    coalesce(dossier.supplement_count, 0)::smallint as supplement_count,
    dossier.is_vneid_account,
    dossier.online_payment_code,

    -- lineage: one simulated record makes the dossier simulated
    greatest(dossier.origin, first_record.origin) as origin,
    link.load_number

from {{ ref('int_dossiers__record') }} as link
inner join {{ ref('stg_dossiers__dossier') }} as dossier
    on link.source_code = dossier.source_code and link.dossier_id = dossier.dossier_id
left join {{ ref('stg_dossiers__dossier') }} as first_record
    on
        link.record_count > 1
        and link.first_source_code = first_record.source_code
        and link.first_dossier_id = first_record.dossier_id
left join {{ ref('source_status') }} as source_status
    on
        {{ dialect_of_source('link.source_code') }} = source_status.dialect
        and dossier.source_status_code = source_status.source_status_code
left join {{ ref('dossier_status') }} as status
    on source_status.status_code = status.status_code
left join {{ ref('stg_dossiers__pseudonym') }} as pseudonym
    on
        dossier.responsible_agency_code = pseudonym.agency_code
        and dossier.applicant_token = pseudonym.person_token
where link.is_current
