with dossier as (

    select * from {{ source('national', 'dossier') }}

),

progress as (

    select * from {{ source('national', 'progress') }}

),

combined as (

    select
        dossier_key,
        null::integer as step_no,
        state,
        lacking,
        reasons,
        last_answer,
        called_at
    from dossier
    union all
    select
        dossier_key,
        step_no,
        state,
        lacking,
        reasons,
        last_answer,
        called_at
    from progress

),

renamed as (

    select
        combined.dossier_key,
        combined.step_no,
        dossier.national_code as dossier_code,
        coalesce(nullif(dossier.agency_code, ''), '{{ var("unknown_code") }}') as responsible_agency_code,
        dossier.received_date,
        combined.state,
        nullif(array_to_string(combined.lacking, ', '), '') as lacking_fields,
        nullif(array_to_string(combined.reasons, ', '), '') as reasons,
        combined.last_answer as portal_answer,
        combined.called_at,
        dossier.origin
    from combined
    inner join dossier on combined.dossier_key = dossier.dossier_key
    where combined.state in ('held', 'refused', 'conflict')

)

select * from renamed
