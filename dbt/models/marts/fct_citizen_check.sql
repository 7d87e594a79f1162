{{
    config(
        indexes=[
            {'columns': ['applicant_pseudonym'], 'unique': true},
            {'columns': ['responsible_agency_code']},
        ]
    )
}}

-- What would be the same at two agencies and of one person alone (token, number of the request, moment) stays behind.

with citizen as (

    select
        responsible_agency_code,
        applicant_pseudonym,
        max(received_date) filter (where is_vneid_account) as verified_date,
        max(origin) as origin
    from {{ ref('fct_dossier') }}
    where applicant_pseudonym is not null
    group by responsible_agency_code, applicant_pseudonym

),

pseudonym as (

    select * from {{ ref('stg_dossiers__pseudonym') }}

),

current_check as (

    select * from {{ ref('int_citizens__check') }}
    where is_current

),

-- Papers of one person share a pseudonym: an answer goes before none, the newest before others.
of_citizen as (

    select distinct on (citizen.applicant_pseudonym)
        citizen.responsible_agency_code,
        citizen.applicant_pseudonym,
        current_check.outcome,
        current_check.basis,
        current_check.differs_in,
        current_check.agreement,
        -- Of the dossier system an agency sees what its own dossiers say, not when somebody went elsewhere.
        case
            when current_check.basis = 'dossier_system' then citizen.verified_date
            else current_check.checked_date
        end as checked_date,
        greatest(citizen.origin, current_check.origin) as origin
    from citizen
    inner join pseudonym
        on
            citizen.responsible_agency_code = pseudonym.agency_code
            and citizen.applicant_pseudonym = pseudonym.pseudonym
    inner join current_check on pseudonym.person_token = current_check.person_token
    order by
        citizen.applicant_pseudonym asc,
        current_check.outcome = 'pending' asc,
        current_check.checked_at desc nulls last,
        current_check.check_key asc

)

select * from of_citizen
