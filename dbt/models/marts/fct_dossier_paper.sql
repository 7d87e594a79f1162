{% call recorded_for_dossiers('paper') %}
    recorded.paper_code,
    recorded.paper_name,
    recorded.is_result,
    recorded.is_digitised,
    recorded.is_reused,
    recorded.is_from_personal_storage
{% endcall %}
