-- What the catalogue says of each procedure now, and when that was read: what versions are made of.

with catalogue as (

    select * from {{ ref('stg_national_portal__procedure') }}

),

method as (

    select
        source_code,
        procedure_id,
        bool_or(channel = 1) as is_offered_in_person,
        bool_or({{ is_online_channel('channel') }}) as is_offered_online,
        bool_or(channel = 3) as is_offered_by_post,
        (array_agg(duration order by method_no) filter (where channel = 1))[1] as time_limit_in_person,
        (array_agg(duration_unit order by method_no) filter (where channel = 1))[1] as time_limit_in_person_unit,
        (array_agg(duration order by method_no) filter (
            where {{ is_online_channel('channel') }}
        ))[1] as time_limit_online,
        (array_agg(duration_unit order by method_no) filter (
            where {{ is_online_channel('channel') }}
        ))[1] as time_limit_online_unit,
        max(fee_vnd) as highest_fee_vnd,
        -- Of rows that were loaded before currencies were, fee_vnd alone is known.
        coalesce(bool_or(fee_amount > 0 or fee_vnd > 0), false) as has_fee
    from {{ ref('stg_national_portal__procedure_method') }}
    group by source_code, procedure_id

),

-- The catalogue is read whole, so what its newest load left stands as of that moment.
read_at as (

    select
        source_code,
        max(pulled_at) as observed_at
    from {{ ref('stg_operations__load') }}
    where interval_start < interval_end
    group by source_code

),

-- The catalogue may hold a withdrawn and a current entry of one code.
one_per_code as (

    select distinct on (procedure_code) *
    from catalogue
    order by
        procedure_code asc,
        coalesce(procedure_state, '') = 'INACTIVE' asc,
        source_updated_at desc nulls last,
        source_code asc,
        procedure_id asc

)

select
    one_per_code.procedure_code,
    one_per_code.procedure_name,
    one_per_code.procedure_state,
    one_per_code.procedure_type,
    one_per_code.sector_code,
    one_per_code.sector_name,
    one_per_code.issuing_agency_code,
    one_per_code.issuing_agency_name,
    one_per_code.is_ministry_level,
    one_per_code.is_province_level,
    one_per_code.is_commune_level,
    coalesce(method.is_offered_in_person, false) as is_offered_in_person,
    coalesce(method.is_offered_online, false) as is_offered_online,
    coalesce(method.is_offered_by_post, false) as is_offered_by_post,
    method.time_limit_in_person,
    method.time_limit_in_person_unit,
    method.time_limit_online,
    method.time_limit_online_unit,
    method.highest_fee_vnd,
    coalesce(method.has_fee, false) as has_fee,
    one_per_code.result_names,
    one_per_code.decision_number,
    one_per_code.source_updated_at,
    one_per_code.source_code,
    one_per_code.procedure_id,
    {{ columns_the_generator_assigned('one_per_code.sector_code', 'one_per_code.procedure_id') }}
        as generator_assigned,
    read_at.observed_at,
    one_per_code.origin
from one_per_code
left join method
    on one_per_code.source_code = method.source_code and one_per_code.procedure_id = method.procedure_id
left join read_at on one_per_code.source_code = read_at.source_code
