{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key='handover_key',
        on_schema_change='fail',
        pre_hook='{{ delete_handovers_to_make_anew() }}',
        post_hook='{{ remember_handovers() }}',
        indexes=[
            {'columns': ['handover_key'], 'unique': true},
            {'columns': ['dossier_key']},
            {'columns': ['source_code', 'dossier_id']},
            {'columns': ['responsible_agency_code']},
            {'columns': ['load_number']},
        ]
    )
}}

-- A decision moves what is open at the beginning of its day. Where the dossier's later record names another agency than
-- the decision, or the decision none, the record says who has it; without one nobody does.
-- Another decision in the seed, or a successor that a system lists only now, makes all handovers anew.

-- The hooks read these only in incremental runs, which dbt does not see when it parses.
-- depends_on: {{ ref('int_dossiers__record') }}
-- depends_on: {{ ref('int_dossiers__month_made') }}
-- depends_on: {{ ref('int_agencies__succession') }}
-- depends_on: {{ ref('handover_decision') }}

with recursive

province_decision as (

    select
        from_agency as from_province_code,
        to_agency as to_province_code,
        effective_date::date as effective_date,
        decision_no
    from {{ ref('handover_decision') }}
    where scope = 'province'

),

listed as (

    select * from {{ ref('int_agencies__succession') }}

),

decision_day as (

    select effective_date from listed
    union
    select effective_date from province_decision

),

candidate as (

    select
        fact.dossier_key,
        fact.source_code,
        fact.dossier_id,
        fact.received_date,
        {{ end_date_in_form_06a('fact.is_resolved', 'fact.completed_date', 'fact.received_date') }} as end_date,
        fact.is_transferred_in and not {{ is_old_agency_code('fact.responsible_agency_code') }} as is_from_outside,
        fact.record_count > 1 as has_later_record,
        fact.responsible_agency_code as last_agency_code,
        first_record.responsible_agency_code as first_agency_code,
        fact.origin,
        fact.load_number
    from {{ ref('fct_dossier') }} as fact
    inner join {{ ref('stg_dossiers__dossier') }} as first_record
        on
            fact.first_source_code = first_record.source_code
            and fact.first_dossier_id = first_record.dossier_id
    where
        {{ is_counted_in_form_06a('fact.report_group', 'fact.completed_date') }}
        and exists (
            select 1
            from decision_day
            where {{ is_open_at_the_beginning_of(
                'decision_day.effective_date', 'fact.received_date',
                end_date_in_form_06a('fact.is_resolved', 'fact.completed_date', 'fact.received_date')
            ) }}
        )
        and {{ is_linked_since_the_handovers('fact.dossier_key') }}

),

-- A body that no list knows still ended with its province.
succession as (

    select
        from_agency_code,
        to_agency_code,
        effective_date,
        decision_no
    from listed
    union all
    select
        unlisted.agency_code as from_agency_code,
        null as to_agency_code,
        province_decision.effective_date,
        province_decision.decision_no
    from (
        select distinct candidate.first_agency_code as agency_code
        from candidate
        where candidate.first_agency_code not in (select listed.from_agency_code from listed)
    ) as unlisted
    inner join province_decision
        on {{ province_of_agency('unlisted.agency_code') }} = province_decision.from_province_code
    where {{ is_old_agency_code('unlisted.agency_code') }}

),

-- The way from each body, for dossiers received before each of the decisions' days; number 0 is where it begins.
way as (

    select
        succession.from_agency_code as first_agency_code,
        decision_day.effective_date as first_date,
        0 as handover_no,
        null as from_agency_code,
        succession.from_agency_code as to_agency_code,
        decision_day.effective_date - 1 as effective_date,
        null as decision_no
    from (select distinct from_agency_code from succession) as succession
    cross join decision_day
    union all
    select
        way.first_agency_code,
        way.first_date,
        way.handover_no + 1 as handover_no,
        way.to_agency_code as from_agency_code,
        next_one.to_agency_code,
        next_one.effective_date,
        next_one.decision_no
    from way
    cross join lateral (
        select
            succession.to_agency_code,
            succession.effective_date,
            succession.decision_no
        from succession
        where
            succession.from_agency_code = way.to_agency_code and succession.effective_date > way.effective_date
        order by succession.effective_date
        limit 1
    ) as next_one

),

decided as (

    select
        candidate.dossier_key,
        way.handover_no,
        way.from_agency_code,
        way.to_agency_code,
        way.effective_date,
        way.decision_no,
        candidate.has_later_record
        and lead(way.handover_no) over (partition by candidate.dossier_key order by way.handover_no) is null
            as is_last_of_migrated
    from candidate
    inner join way
        on
            candidate.first_agency_code = way.first_agency_code
            and way.handover_no > 0
            and way.first_date = (
                select min(decision_day.effective_date)
                from decision_day
                where decision_day.effective_date > candidate.received_date
            )
            and {{ is_open_at_the_beginning_of(
                'way.effective_date', 'candidate.received_date', 'candidate.end_date'
            ) }}
    where not candidate.is_from_outside

),

told as (

    select
        decided.dossier_key,
        decided.handover_no,
        decided.from_agency_code,
        case
            when decided.is_last_of_migrated then candidate.last_agency_code
            else decided.to_agency_code
        end as to_agency_code,
        decided.effective_date as handover_date,
        decided.decision_no,
        case
            when decided.is_last_of_migrated and coalesce(decided.to_agency_code, '') <> candidate.last_agency_code
                then 'record'
            when decided.to_agency_code is null then 'nobody'
            else 'decision'
        end as told_by
    from decided
    inner join candidate on decided.dossier_key = candidate.dossier_key
    union all
    -- From a system that the warehouse does not hold: who had it there is not known here.
    select
        candidate.dossier_key,
        1 as handover_no,
        null as from_agency_code,
        candidate.last_agency_code as to_agency_code,
        arrival.effective_date as handover_date,
        arrival.decision_no,
        'record' as told_by
    from candidate
    cross join
        lateral (
            select
                province_decision.effective_date,
                province_decision.decision_no
            from province_decision
            where
                province_decision.to_province_code = {{ province_of_agency('candidate.last_agency_code') }}
                and {{ is_open_at_the_beginning_of(
                'province_decision.effective_date', 'candidate.received_date', 'candidate.end_date'
            ) }}
            order by province_decision.effective_date desc
            limit 1
        ) as arrival
    where candidate.is_from_outside

),

final as (

    select
        md5(told.dossier_key || '|' || told.handover_no) as handover_key,
        told.dossier_key,
        candidate.source_code,
        candidate.dossier_id,
        candidate.last_agency_code as responsible_agency_code,
        told.handover_no,
        told.from_agency_code,
        told.to_agency_code,
        told.handover_date,
        told.decision_no,
        told.told_by,
        candidate.origin,
        candidate.load_number
    from told
    inner join candidate on told.dossier_key = candidate.dossier_key

)

select * from final
