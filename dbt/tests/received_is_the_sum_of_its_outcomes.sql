-- Form II.06a: received = resolved + withdrawn + open + paused; each dossier stands in one of the sets,
-- and the flag for resolved agrees with it.
with counted as (

    select
        source_code,
        count(*) as known,
        count(*) filter (where report_group = 'not_received') as not_received,
        count(*) filter (where is_resolved) as resolved,
        count(*) filter (where not is_resolved and report_group in ('open', 'paused')) as still_open
    from {{ ref('fct_dossier') }}
    group by source_code

)

select * from counted
where known <> not_received + resolved + still_open
