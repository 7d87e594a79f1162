-- Payments by the month they were made and the system that recorded them; a fee of 0 is none.
with payment as (

    select
        to_char(fee.paid_date, 'YYYY-MM') as year_month,
        fee.source_code as system_code,
        {{ is_fee_paid_online('fee.payment_method') }} as is_online,
        fee.origin
    from {{ ref('fct_dossier_fee') }} as fee
    inner join {{ ref('int_loads__covered_day') }} as covered_day
        on fee.source_code = covered_day.source_code and fee.paid_date = covered_day.covered_date
    where fee.is_current_record and fee.amount_vnd > 0 and fee.paid_date is not null

)

select
    payment.year_month,
    payment.system_code,
    covered_month.is_provisional,
    payment.origin,
    (count(*) filter (where payment.is_online))::integer as paid_online,
    (count(*) filter (where payment.is_online is not true))::integer as paid_otherwise
from payment
inner join {{ ref('int_loads__covered_month') }} as covered_month
    on payment.system_code = covered_month.source_code and payment.year_month = covered_month.year_month
group by payment.year_month, payment.system_code, covered_month.is_provisional, payment.origin
