{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key='dossier_key',
        on_schema_change='fail',
        pre_hook='{{ delete_rows_of_relinked_records() }}',
        indexes=[
            {'columns': ['dossier_key'], 'unique': true},
            {'columns': ['source_code', 'dossier_id'], 'unique': true},
            {'columns': ['responsible_agency_code', 'received_date']},
            {'columns': ['applicant_pseudonym']},
            {'columns': ['received_date']},
            {'columns': ['completed_date']},
            {'columns': ['load_number']},
            {'columns': ['status_code']},
            {'columns': ['is_resolved', 'due_date']},
        ]
    )
}}

-- The hook, and what follows below, read these only in incremental runs, which dbt does not see when it parses.
-- depends_on: {{ ref('int_dossiers__record') }}
-- depends_on: {{ ref('stg_dossiers__dossier') }}
-- depends_on: {{ ref('stg_dossiers__pseudonym') }}

with dossier as (

    select * from {{ ref('int_dossiers__one_per_dossier') }}

),

as_of as (

    select as_of_date from {{ ref('int_loads__as_of') }}

),

{% if is_incremental() %}

    relinked as (

        select dossier_key
        from {{ ref('int_dossiers__record') }}
        where linked_in_load > {{ newest_load_in_this() }} and is_current

    ),

    -- An open dossier becomes overdue by the passing of days alone.
    judged_otherwise as (

        select fact.dossier_key
        from {{ this }} as fact
        cross join as_of
        where not fact.is_resolved and fact.is_overdue <> {{ is_overdue_by_calendar_date(
            'fact.report_group', 'fact.status_code', 'fact.completed_date', 'fact.due_date', 'as_of.as_of_date'
        ) }}

    ),

    -- An applicant was erased, or the vault's key was changed, and no dossier with it: a name that is none any more, or
    -- one that nobody bears yet.
    named_otherwise as (

        select fact.dossier_key
        from {{ this }} as fact
        where
            fact.applicant_pseudonym is not null
            and not exists (
                select 1 from {{ ref('stg_dossiers__pseudonym') }} as pseudonym
                where
                    pseudonym.agency_code = fact.responsible_agency_code
                    and pseudonym.pseudonym = fact.applicant_pseudonym
            )
        union all
        select fact.dossier_key
        from {{ ref('stg_dossiers__pseudonym') }} as pseudonym
        inner join {{ ref('stg_dossiers__dossier') }} as record on pseudonym.person_token = record.applicant_token
        inner join {{ this }} as fact
            on
                record.source_code = fact.source_code
                and record.dossier_id = fact.dossier_id
                and fact.responsible_agency_code = pseudonym.agency_code
        where
            not exists (
                select 1 from {{ this }} as bearer
                where
                    bearer.responsible_agency_code = pseudonym.agency_code
                    and bearer.applicant_pseudonym = pseudonym.pseudonym
            )

    ),

{% endif %}

dated as (

    select
        dossier.*,
        {{ local_date('dossier.received_at') }} as received_date,
        {{ local_date('dossier.due_at') }} as due_date,
        {{ local_date('coalesce(dossier.completed_at, dossier.returned_at)') }} as completed_date,
        {{ local_date('dossier.returned_at') }} as returned_date,
        as_of.as_of_date
    from dossier
    cross join as_of
    {% if is_incremental() %}
        where
            dossier.dossier_key in (
                select relinked.dossier_key from relinked
                union
                select judged_otherwise.dossier_key from judged_otherwise
                union
                select named_otherwise.dossier_key from named_otherwise
            )
    {% endif %}

),

final as (

    select
        dossier_key,
        source_code,
        dossier_id,
        dossier_code,
        national_code,
        previous_code,
        first_source_code,
        first_dossier_id,
        record_count,
        is_transferred_in,
        procedure_code,
        procedure_code_as_written,
        sector_code,
        sector_name,
        service_level,
        channel,
        {{ is_online_channel('channel') }} as is_online,
        applicant_type,
        applicant_pseudonym,
        applicant_commune_code,
        receiving_agency_code,
        responsible_agency_code,
        submitted_at,
        received_at,
        due_at,
        completed_at,
        returned_at,
        received_date,
        due_date,
        completed_date,
        returned_date,
        source_status_code,
        status_code,
        report_group,
        {{ is_resolved_in_form_06a('report_group') }} as is_resolved,
        {{ is_overdue_by_calendar_date(
            'report_group', 'status_code', 'completed_date', 'due_date', 'as_of_date'
        ) }} as is_overdue,
        supplement_count,
        is_vneid_account,
        online_payment_code,
        origin,
        load_number
    from dated

)

-- An agency's dossiers lie together, so that it reads few pages of a large table.
select * from final
order by responsible_agency_code, received_date
