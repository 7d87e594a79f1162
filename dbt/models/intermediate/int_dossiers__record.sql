{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['source_code', 'dossier_id'],
        on_schema_change='fail',
        indexes=[
            {'columns': ['source_code', 'dossier_id'], 'unique': true},
            {'columns': ['dossier_key']},
            {'columns': ['dossier_code']},
            {'columns': ['previous_code']},
            {'columns': ['linked_in_load']},
        ]
    )
}}

-- A record is linked to another system's record whose dossier_code is its previous_code.
-- When a record changes, everything that its codes reach, before and now, is linked anew.

with recursive

deleted as (

    select
        source_code,
        dossier_id
    from {{ ref('stg_dossiers__deletion') }}
    where deleted_at is not null

),

-- What the source has deleted counts as if it had left raw, until it is listed again.
record as not materialized (

    select
        dossier.source_code,
        dossier.dossier_id,
        dossier.dossier_code,
        dossier.previous_code,
        dossier.received_at,
        dossier.load_number
    from {{ ref('stg_dossiers__dossier') }} as dossier
    where
        not exists (
            select 1 from deleted
            where dossier.source_code = deleted.source_code and dossier.dossier_id = deleted.dossier_id
        )

),

change as not materialized (

    select
        source_code,
        dossier_id,
        load_number
    from {{ ref('stg_dossiers__change') }}

),

{% if is_incremental() %}

    changed as (

        select distinct
            source_code,
            dossier_id
        from change
        where load_number > {{ newest_load_in_this('linked_in_load') }}

    ),

    migration as (

        select
            dossier_code,
            previous_code
        from record
        where previous_code is not null
        union
        select
            dossier_code,
            previous_code
        from {{ this }}
        where previous_code is not null

    ),

    code_pair as (

        select
            dossier_code as code,
            previous_code as other_code
        from migration
        union all
        select
            previous_code as code,
            dossier_code as other_code
        from migration

    ),

    reached as (

        select code from (
            select record.dossier_code as code
            from changed
            inner join record
                on changed.source_code = record.source_code and changed.dossier_id = record.dossier_id
            union
            select linked_before.dossier_code as code
            from changed
            inner join {{ this }} as linked_before
                on changed.source_code = linked_before.source_code and changed.dossier_id = linked_before.dossier_id
        ) as code_of_changed
        union
        select code_pair.other_code as code
        from reached
        inner join code_pair on reached.code = code_pair.code

    ),

    affected as (

        select record.*
        from record
        where record.dossier_code in (select reached.code from reached)

    ),

    removed as (

        select
            linked_before.source_code,
            linked_before.dossier_id,
            linked_before.dossier_code,
            linked_before.previous_code
        from changed
        inner join {{ this }} as linked_before
            on changed.source_code = linked_before.source_code and changed.dossier_id = linked_before.dossier_id
        where
            not exists (
                select 1 from record
                where record.source_code = linked_before.source_code and record.dossier_id = linked_before.dossier_id
            )

    ),

{% else %}

    affected as (

        select record.* from record

    ),

{% endif %}

predecessor as (

    select distinct on (later.source_code, later.dossier_id)
        later.source_code,
        later.dossier_id,
        earlier.source_code as earlier_source_code,
        earlier.dossier_id as earlier_dossier_id
    from affected as later
    inner join affected as earlier
        on later.previous_code = earlier.dossier_code and later.source_code <> earlier.source_code
    order by
        later.source_code asc,
        later.dossier_id asc,
        earlier.received_at desc,
        earlier.source_code asc,
        earlier.dossier_id asc

),

-- Ten hops end a circle of codes, which only wrong data can hold.
ancestor as (

    select
        source_code,
        dossier_id,
        earlier_source_code,
        earlier_dossier_id,
        1 as hops
    from predecessor
    union all
    select
        ancestor.source_code,
        ancestor.dossier_id,
        predecessor.earlier_source_code,
        predecessor.earlier_dossier_id,
        ancestor.hops + 1 as hops
    from ancestor
    inner join predecessor
        on
            ancestor.earlier_source_code = predecessor.source_code
            and ancestor.earlier_dossier_id = predecessor.dossier_id
    where ancestor.hops < 10

),

first_ancestor as (

    select distinct on (source_code, dossier_id)
        source_code,
        dossier_id,
        earlier_source_code,
        earlier_dossier_id,
        hops
    from ancestor
    order by source_code asc, dossier_id asc, hops desc

),

last_change as (

    select
        change.source_code,
        change.dossier_id,
        max(change.load_number) as load_number
    from change
    {% if is_incremental() %}
        inner join affected
            on change.source_code = affected.source_code and change.dossier_id = affected.dossier_id
    {% endif %}
    group by change.source_code, change.dossier_id

),

rooted as (

    select
        affected.source_code,
        affected.dossier_id,
        affected.dossier_code,
        affected.previous_code,
        affected.received_at,
        coalesce(first_ancestor.earlier_source_code, affected.source_code) as first_source_code,
        coalesce(first_ancestor.earlier_dossier_id, affected.dossier_id) as first_dossier_id,
        coalesce(first_ancestor.hops, 0) as hops,
        greatest(affected.load_number, last_change.load_number) as load_number
    from affected
    left join first_ancestor
        on affected.source_code = first_ancestor.source_code and affected.dossier_id = first_ancestor.dossier_id
    left join last_change
        on affected.source_code = last_change.source_code and affected.dossier_id = last_change.dossier_id

),

linked as (

    select
        source_code,
        dossier_id,
        dossier_code,
        previous_code,
        first_source_code,
        first_dossier_id,
        {{ dossier_key_of('first_source_code', 'first_dossier_id') }} as dossier_key,
        row_number() over (
            partition by first_source_code, first_dossier_id
            order by hops desc, received_at desc, source_code desc, dossier_id desc
        ) = 1 as is_current,
        count(*) over (partition by first_source_code, first_dossier_id)::integer as record_count,
        max(load_number) over (partition by first_source_code, first_dossier_id) as load_number,
        false as is_removed
    from rooted

)

select
    source_code,
    dossier_id,
    dossier_code,
    previous_code,
    first_source_code,
    first_dossier_id,
    dossier_key,
    is_current,
    record_count,
    load_number,
    {% if is_incremental() %}(select max(change.load_number) from change){% else %}load_number{% endif %}
        as linked_in_load,
    is_removed
from linked

{% if is_incremental() %}

    -- A record that left raw stays as a mark, so that the facts know which rows to drop.
    union all
    select
        source_code,
        dossier_id,
        dossier_code,
        previous_code,
        source_code as first_source_code,
        dossier_id as first_dossier_id,
        null as dossier_key,
        false as is_current,
        0 as record_count,
        (select max(change.load_number) from change) as load_number,
        (select max(change.load_number) from change) as linked_in_load,
        true as is_removed
    from removed

{% endif %}
