with source as (

    select * from {{ source('raw', 'dossier') }}

),

renamed as (

    select
        -- identifiers
        source_code,
        dossier_id,

        -- the citizen, sealed: equal names of one person have equal references
        applicant_id_number as person_token,
        applicant_name as name_reference,
        applicant_birth_year as birth_year,

        -- what the dossier system knows already
        coalesce(is_vneid_account, false) as is_vneid_account,
        received_at,

        -- lineage
        _origin as origin,
        _load_number as load_number

    from source
    where
        applicant_type = 1 and applicant_id_number is not null and applicant_name is not null
        -- nobody is asked about for a dossier the source no longer has
        and (source_code, dossier_id) not in (
            select
                deleted.source_code,
                deleted.dossier_id
            from {{ source('raw', 'dossier_deletion') }} as deleted
            where deleted.deleted_at is not null
        )

)

select * from renamed
