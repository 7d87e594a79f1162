{{ kept_by_dossier('change_key') }}

-- What the systems still tell: a step that ended leaves the dossier in its status then, one that runs holds it from its
-- beginning. A status taken and left again within one step (waiting for papers that came since) is told by no source.
-- Two systems that hold a dossier tell the steps before the migration twice; equal neighbours are one.

-- The hook reads these only in incremental runs, which dbt does not see when it parses.
-- depends_on: {{ ref('int_dossiers__record') }}

with dossier as (

    select * from {{ ref('fct_dossier') }}
    {% if is_incremental() %}
        where dossier_key in (
            select link.dossier_key from {{ ref('int_dossiers__record') }} as link
            where link.linked_in_load > {{ newest_load_in_this() }}
        )
    {% endif %}

),

step as (

    select * from {{ ref('fct_dossier_step') }}
    where status_code is not null

),

status as (

    select
        status_code::smallint as status_code,
        report_group
    from {{ ref('dossier_status') }}

),

told as (

    select
        dossier.dossier_key,
        dossier.source_code,
        dossier.dossier_id,
        dossier.responsible_agency_code,
        2::smallint as status_code,
        dossier.received_at as changed_at,
        dossier.receiving_agency_code as agency_code,
        'receipt' as told_by,
        0 as step_no,
        dossier.origin,
        dossier.load_number
    from dossier
    where dossier.report_group <> 'not_received'
    union all
    select
        step.dossier_key,
        step.source_code,
        step.dossier_id,
        dossier.responsible_agency_code,
        step.status_code,
        coalesce(step.finished_at, step.started_at) as changed_at,
        step.agency_code,
        'step' as told_by,
        step.step_no,
        step.origin,
        dossier.load_number
    from dossier
    inner join step on dossier.dossier_key = step.dossier_key

),

compared as (

    select
        *,
        lag(status_code) over (
            partition by dossier_key order by changed_at, step_no, source_code
        ) as status_before
    from told

),

change as (

    select
        *,
        row_number() over (partition by dossier_key order by changed_at, step_no, source_code) as change_no,
        lead(changed_at) over (partition by dossier_key order by changed_at, step_no, source_code) as valid_to
    from compared
    where status_before is null or status_before <> status_code

),

final as (

    select
        md5(change.dossier_key || '|' || change.change_no) as change_key,
        change.dossier_key,
        change.source_code,
        change.dossier_id,
        change.responsible_agency_code,
        change.change_no::integer as change_no,
        change.status_code,
        status.report_group,
        change.changed_at as valid_from,
        change.valid_to,
        {{ local_date('change.changed_at') }} as valid_from_date,
        {{ local_date('change.valid_to') }} as valid_to_date,
        change.agency_code,
        change.told_by,
        change.origin,
        change.load_number
    from change
    inner join status on change.status_code = status.status_code

)

select * from final
order by responsible_agency_code, valid_from_date
