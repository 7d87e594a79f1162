with load as (

    -- Found deletions stand with an empty interval: they cover no day.
    select * from {{ ref('stg_operations__load') }}
    where interval_start < interval_end

),

dossier as (

    select source_code from {{ ref('stg_dossiers__dossier') }}

),

source_of_dossiers as (

    select source_code
    from (select distinct load.source_code from load) as source_with_loads
    where
        exists (
            select 1 from dossier
            where dossier.source_code = source_with_loads.source_code
        )

),

last_covered as (

    select max({{ last_local_day_before('load.interval_end') }}) as last_covered_date
    from load
    inner join source_of_dossiers on load.source_code = source_of_dossiers.source_code

)

select
    last_covered_date,
    coalesce(
        {% if var('as_of_date') %}'{{ var("as_of_date") }}'::date{% else %}null::date{% endif %},
        last_covered_date
    ) as as_of_date
from last_covered
