{% call recorded_for_dossiers('fee') %}
    recorded.fee_kind,
    recorded.fee_name,
    recorded.amount_vnd,
    recorded.payment_method,
    recorded.paid_at,
    {{ local_date('recorded.paid_at') }} as paid_date,
    {{ is_fee_owed('recorded.amount_vnd', 'recorded.paid_at') }} as is_owed
{% endcall %}
