{{
    config(
        materialized='table',
        contract={'enforced': true},
        indexes=[{'columns': ['check_key'], 'unique': true}, {'columns': ['person_token']}]
    )
}}

with dossier as (

    select * from {{ ref('stg_population__citizen_dossier') }}

),

citizen_check as (

    select * from {{ ref('stg_population__citizen_check') }}

),

-- A person is who the newest dossier says.
person as (

    select
        person_token,
        (array_agg(name_reference order by received_at desc, source_code asc, dossier_id asc))[1] as name_reference,
        (array_agg(birth_year order by received_at desc, source_code asc, dossier_id asc))[1] as birth_year,
        bool_or(is_vneid_account) as is_vneid_verified,
        max(received_at) filter (where is_vneid_account) as verified_at,
        max(origin) as origin,
        max(load_number) as load_number
    from dossier
    group by person_token

),

asked as (

    select
        citizen_check.*,
        coalesce(person.is_vneid_verified, false) as is_vneid_verified,
        -- Asked about the name and the year of birth that the person has now.
        coalesce(
            citizen_check.name_reference = person.name_reference
            and citizen_check.asked_birth_year is not distinct from person.birth_year,
            false
        ) as is_of_now
    from citizen_check
    left join person on citizen_check.person_token = person.person_token

),

ranked as (

    select
        *,
        row_number() over (
            partition by person_token, is_of_now
            order by outcome = 'pending' asc, checked_at desc, source_code asc, check_id asc
        ) as place
    from asked

),

combined as (

    select
        md5(source_code || '|' || check_id) as check_key,
        person_token,
        outcome,
        case when outcome <> 'not_askable' then 'population_database' end as basis,
        differs_in,
        agreement,
        source_code,
        check_id,
        checked_at,
        is_of_now and place = 1 and not is_vneid_verified as is_current,
        origin,
        load_number
    from ranked

    union all

    select
        md5('dossier_system|' || person_token) as check_key,
        person_token,
        'matched' as outcome,
        'dossier_system' as basis,
        null as differs_in,
        null as agreement,
        null as source_code,
        null as check_id,
        verified_at as checked_at,
        true as is_current,
        origin,
        load_number
    from person
    where is_vneid_verified

    union all

    select
        md5('nobody|' || person.person_token) as check_key,
        person.person_token,
        'pending' as outcome,
        null as basis,
        null as differs_in,
        null as agreement,
        null as source_code,
        null as check_id,
        null as checked_at,
        true as is_current,
        person.origin,
        person.load_number
    from person
    where
        not person.is_vneid_verified
        and not exists (
            select 1 from asked
            where asked.person_token = person.person_token and asked.is_of_now
        )

),

final as (

    select
        check_key,
        person_token,
        outcome,
        basis,
        differs_in,
        agreement,
        source_code,
        check_id,
        checked_at,
        {{ local_date('checked_at') }} as checked_date,
        is_current,
        origin,
        load_number
    from combined

)

select * from final
