{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key='fee_key',
        on_schema_change='fail',
        pre_hook='{{ delete_rows_of_relinked_records() }}',
        indexes=[
            {'columns': ['fee_key'], 'unique': true},
            {'columns': ['dossier_key']},
            {'columns': ['source_code', 'dossier_id']},
            {'columns': ['load_number']},
        ]
    )
}}

with fee as (

    select * from {{ ref('stg_dossiers__fee') }}

),

link as (

    select * from {{ ref('int_dossiers__record') }}
    where
        not is_removed
        {% if is_incremental() %}and linked_in_load > {{ newest_load_in(this) }}{% endif %}

),

final as (

    select
        md5(fee.source_code || '|' || fee.dossier_id || '|' || fee.fee_no) as fee_key,
        link.dossier_key,
        fee.source_code,
        fee.dossier_id,
        link.is_current as is_current_record,
        fee.fee_no,
        fee.fee_kind,
        fee.fee_name,
        fee.amount_vnd,
        fee.payment_method,
        fee.paid_at,
        {{ local_date('fee.paid_at') }} as paid_date,
        {{ is_fee_owed('fee.amount_vnd', 'fee.paid_at') }} as is_owed,
        fee.origin,
        link.load_number
    from link
    inner join fee
        on link.source_code = fee.source_code and link.dossier_id = fee.dossier_id

)

select * from final
