{{ kept_by_month(indexes=[{'columns': ['dossier_key']}, {'columns': ['left_date']}]) }}

-- The hooks read these only in incremental runs, which dbt does not see when it parses.
-- depends_on: {{ ref('int_dossiers__month') }}
-- depends_on: {{ ref('int_dossiers__month_made') }}

with dossier as (

    select
        *,
        {{ end_date_in_form_06a('is_resolved', 'completed_date', 'received_date') }} as end_date
    from {{ ref('fct_dossier') }}
    where
        {{ is_counted_in_form_06a('report_group', 'completed_date') }}
        and {{ is_in_a_changed_month('received_date') }}

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

)

{{ holdings_of('dossier', 'handover', carried=['received_date', 'applicant_commune_code', 'online_payment_code']) }}
