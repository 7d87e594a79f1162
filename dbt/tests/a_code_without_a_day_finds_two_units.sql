-- What the day is for: joined by its code alone, 82 is Tiền Giang and Đồng Tháp at once, and every dossier there would
-- stand twice; joined as of its day it stands once. A list in which the wrong join does no harm would prove nothing.
with asked (unit_code, received_date) as (

    values ('82', '2025-06-30'::date), ('82', '2025-07-01'::date)

),

found as (

    select
        asked.received_date,
        (
            select count(*)
            from {{ ref('dim_administrative_unit') }} as unit
            where unit.unit_code = asked.unit_code and unit.is_known
        ) as by_code_alone,
        (
            select count(*)
            from {{ ref('dim_administrative_unit') }} as unit
            where {{ administrative_unit_as_of('unit', 'asked.unit_code', 'asked.received_date') }}
        ) as as_of_the_day
    from asked

)

select * from found
where by_code_alone <> 2 or as_of_the_day <> 1
