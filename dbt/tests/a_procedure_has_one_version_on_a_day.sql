-- On the day of its source's newest change every procedure of the catalogue has one version, which says what
-- dim_procedure says; on the day before the first snapshot it has none.
with version as (

    select * from {{ ref('dim_procedure_version') }}

),

history as (

    select
        source_code,
        max(valid_from) as last_change,
        min(known_from) - 1 as before_first_snapshot
    from version
    group by source_code

),

procedure_of_catalogue as (

    select * from {{ ref('dim_procedure') }}
    where is_known

),

asked as (

    select
        procedure_of_catalogue.procedure_code,
        procedure_of_catalogue.procedure_name,
        history.last_change as as_of_date,
        1 as expected_count
    from procedure_of_catalogue
    inner join history on procedure_of_catalogue.source_code = history.source_code
    union all
    select
        procedure_of_catalogue.procedure_code,
        procedure_of_catalogue.procedure_name,
        history.before_first_snapshot as as_of_date,
        0 as expected_count
    from procedure_of_catalogue
    inner join history on procedure_of_catalogue.source_code = history.source_code

)

select
    asked.procedure_code,
    asked.as_of_date,
    count(version.version_key) as found_count
from asked
left join version on {{ procedure_version_as_of('version', 'asked.procedure_code', 'asked.as_of_date') }}
group by asked.procedure_code, asked.procedure_name, asked.as_of_date, asked.expected_count
having
    count(version.version_key) <> asked.expected_count
    or max(version.procedure_name) <> asked.procedure_name
