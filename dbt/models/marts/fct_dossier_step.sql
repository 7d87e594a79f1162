{% set status_of_the_step %}
left join {{ ref('source_status') }} as source_status
    on
        {{ dialect_of_source('recorded.source_code') }} = source_status.dialect
        and recorded.source_status_code = source_status.source_status_code
{% endset %}
{% call recorded_for_dossiers('step', status_of_the_step, [{'columns': ['started_date']}]) %}
    recorded.step_name,
    recorded.agency_code,
    recorded.started_at,
    recorded.due_at,
    recorded.finished_at,
    {{ local_date('recorded.started_at') }} as started_date,
    {{ local_date('recorded.due_at') }} as due_date,
    {{ local_date('recorded.finished_at') }} as finished_date,
    source_status.status_code::smallint as status_code
{% endcall %}
