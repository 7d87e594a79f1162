-- The same of a quarter, by its first day, with the names and areas that rows of a quarter carry.
with list as (

    select
        (
            select
                md5(
                    string_agg(
                        concat_ws('|', area.member_key, area.area_code, area.area_name), ',' order by area.member_key
                    )
                )
            from {{ ref('dim_comparable_area') }} as area
        ) as areas,
        (
            select
                md5(
                    string_agg(
                        concat_ws('|', bridge.old_district_code, bridge.new_commune_code), ','
                        order by bridge.old_district_code, bridge.new_commune_code
                    )
                )
            from {{ ref('bridge_administrative_unit') }} as bridge
        ) as districts,
        (
            select
                md5(
                    string_agg(
                        concat_ws('|', catalogue.procedure_code, catalogue.procedure_name), ','
                        order by catalogue.procedure_code
                    )
                )
            from {{ ref('dim_procedure') }} as catalogue
            inner join {{ ref('reported_procedure') }} as reported_procedure
                on catalogue.procedure_code = reported_procedure.procedure_code
        ) as procedure_names

),

by_quarter as (

    select
        date_trunc('quarter', received_month)::date as received_month,
        string_agg(month_fingerprint, ',' order by received_month) as months
    from {{ ref('int_dossiers__event_month') }}
    group by date_trunc('quarter', received_month)

)

select
    by_quarter.received_month,
    md5(concat_ws(
        '|', by_quarter.months, covered_quarter.is_provisional, list.areas, list.districts, list.procedure_names
    )) as month_fingerprint
from by_quarter
cross join list
left join {{ ref('int_loads__covered_quarter') }} as covered_quarter
    on to_char(by_quarter.received_month, 'YYYY-"Q"Q') = covered_quarter.year_quarter
