-- Also of a whole body nothing is lost: carried over + new + transferred in = resolved + open + transferred out, and no
-- more was handed over inside than came to its units and left them.
select
    agency_code,
    sector_name,
    closing,
    period
from {{ ref('form_06a_with_subordinates') }}
where
    period_end >= {{ first_day_not_tested() }} - 1
    and (
        carried_over + new_online + new_other + transferred_in <> resolved_total + open_total + transferred_out
        or least(transferred_in, transferred_out, transferred_within) < 0
    )
