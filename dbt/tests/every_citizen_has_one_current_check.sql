-- Whoever a dossier names is checked, pending, or not to be asked about, and never two of these at once.
with citizen as (

    select distinct person_token from {{ ref('stg_population__citizen_dossier') }}

),

current_check as (

    select
        person_token,
        count(*) as check_count
    from {{ ref('int_citizens__check') }}
    where is_current
    group by person_token

)

select
    coalesce(citizen.person_token, current_check.person_token) as person_token,
    coalesce(current_check.check_count, 0) as check_count
from citizen
full outer join current_check on citizen.person_token = current_check.person_token
where citizen.person_token is null or current_check.check_count is distinct from 1
