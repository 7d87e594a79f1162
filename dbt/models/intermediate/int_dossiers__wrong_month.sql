{{ config(materialized='table') }}

-- Whether a dossier is right depends on others, too: on a list without its code, on a dossier that claims the same.

with unknown_in_month as (

    select distinct
        used.received_month,
        concat_ws('|', used.code_kind, used.code, used.source_code) as wrong
    from {{ ref('int_dossiers__used_code') }} as used
    inner join {{ ref('int_dossiers__unknown_code') }} as unknown_code
        on
            used.code_kind = unknown_code.code_kind
            and used.code = unknown_code.code
            and used.source_code = unknown_code.source_code
    where not unknown_code.is_before_known_from
    union all
    select
        received_month,
        'twice|' || dossier_key as wrong
    from {{ ref('int_dossiers__claimed_twice') }}

),

wrong_in_month as (

    select
        received_month,
        md5(string_agg(wrong, ',' order by wrong)) as wrong
    from unknown_in_month
    group by received_month

)

select
    month_now.received_month,
    concat_ws('|', month_now.month_fingerprint, wrong_in_month.wrong) as month_fingerprint
from {{ ref('int_dossiers__month') }} as month_now
left join wrong_in_month on month_now.received_month = wrong_in_month.received_month
