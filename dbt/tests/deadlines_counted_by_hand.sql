-- Deadlines counted on a paper calendar: weekends, Tết 2025 and 2026, exchanged days, hours over noon and night.
with written (what, received_at, amount, unit, open_on_saturday, due_at) as (

    values
    ('three days in a plain week', '2025-07-01 09:15+07', 3, 'WORKING_DAY', false, '2025-07-04 09:15+07'),
    ('over a weekend', '2025-07-04 09:15+07', 1, 'WORKING_DAY', false, '2025-07-07 09:15+07'),
    ('after closing counts from the morning', '2025-07-03 17:30+07', 1, 'WORKING_DAY', false, '2025-07-07 07:30+07'),
    ('before opening counts from opening', '2025-07-03 05:00+07', 1, 'WORKING_DAY', false, '2025-07-04 07:30+07'),
    ('sent on Sunday counts from Monday', '2025-07-06 10:00+07', 2, 'WORKING_DAY', false, '2025-07-09 07:30+07'),
    ('Saturday, closed', '2025-07-05 09:00+07', 1, 'WORKING_DAY', false, '2025-07-08 07:30+07'),
    ('Saturday, open', '2025-07-05 09:00+07', 1, 'WORKING_DAY', true, '2025-07-07 09:00+07'),
    ('half a day is a whole one', '2025-07-01 09:15+07', 0.5, 'WORKING_DAY', false, '2025-07-02 09:15+07'),
    ('before Tết 2025', '2025-01-24 10:00+07', 3, 'WORKING_DAY', false, '2025-02-05 10:00+07'),
    ('before Tết 2026', '2026-02-13 16:00+07', 1, 'WORKING_DAY', false, '2026-02-23 16:00+07'),
    ('a Saturday made a working day', '2025-04-25 08:00+07', 1, 'WORKING_DAY', false, '2025-04-26 08:00+07'),
    ('over the days off it was exchanged for', '2025-04-29 08:00+07', 1, 'WORKING_DAY', false, '2025-05-05 08:00+07'),
    ('the exchanged Friday of 2026', '2025-12-31 08:00+07', 1, 'WORKING_DAY', false, '2026-01-05 08:00+07'),
    ('the Saturday that made up for it', '2026-01-09 08:00+07', 1, 'WORKING_DAY', false, '2026-01-10 08:00+07'),
    ('calendar days', '2025-07-01 09:00+07', 10, 'DAY', false, '2025-07-11 09:00+07'),
    ('calendar days that end on a Saturday', '2025-07-01 09:00+07', 4, 'DAY', false, '2025-07-07 09:00+07'),
    ('calendar days that end in Tết', '2025-01-20 09:00+07', 9, 'DAY', false, '2025-02-03 09:00+07'),
    ('a month', '2025-07-01 09:00+07', 1, 'MONTH', false, '2025-08-01 09:00+07'),
    ('a month from the 31st', '2025-03-31 09:00+07', 1, 'MONTH', false, '2025-05-05 09:00+07'),
    ('a year', '2024-02-29 09:00+07', 1, 'YEAR', false, '2025-02-28 09:00+07'),
    ('hours over noon', '2025-07-01 10:30+07', 2, 'HOUR', false, '2025-07-01 14:00+07'),
    ('hours over the night', '2025-07-01 16:00+07', 4, 'WORKING_HOUR', false, '2025-07-02 10:30+07'),
    ('hours over the weekend', '2025-07-04 16:30+07', 8, 'HOUR', false, '2025-07-07 16:30+07'),
    ('a Saturday one-stop before Tết 2025', '2025-01-25 09:00+07', 3, 'WORKING_DAY', true, '2025-02-05 09:00+07'),
    ('a Saturday one-stop closed before Tết', '2025-01-25 09:00+07', 3, 'WORKING_DAY', false, '2025-02-06 07:30+07'),
    ('the Saturday within Tết 2025', '2025-02-01 09:00+07', 1, 'WORKING_DAY', true, '2025-02-04 07:30+07'),
    ('a Saturday one-stop before Tết 2026', '2026-02-14 09:00+07', 1, 'WORKING_DAY', true, '2026-02-23 09:00+07'),
    ('a made-up Saturday is open to all', '2025-04-26 09:00+07', 1, 'WORKING_DAY', false, '2025-04-28 09:00+07'),
    ('hours from a Saturday before Tết', '2025-01-25 09:00+07', 2, 'HOUR', true, '2025-02-03 09:30+07'),
    ('hours over Tết', '2025-01-24 15:30+07', 4, 'HOUR', false, '2025-02-03 10:00+07'),
    ('hours over a Saturday made a working day', '2025-04-25 16:00+07', 2, 'HOUR', false, '2025-04-26 08:30+07'),
    ('hours over the day it was exchanged for', '2025-04-29 16:00+07', 2, 'HOUR', false, '2025-05-05 08:30+07'),
    ('hours to the very end of the day', '2025-07-01 13:00+07', 4, 'HOUR', false, '2025-07-01 17:00+07'),
    ('hours from noon', '2025-07-01 12:00+07', 1, 'HOUR', false, '2025-07-01 14:00+07'),
    ('hours from a Saturday that is open', '2025-07-05 09:00+07', 2, 'HOUR', true, '2025-07-07 09:30+07'),
    ('minutes', '2025-07-01 11:20+07', 30, 'MINUTE', false, '2025-07-01 13:20+07'),
    ('another unit', '2025-07-01 09:00+07', 3, 'OTHER', false, null),
    ('no limit', '2025-07-01 09:00+07', null, 'WORKING_DAY', false, null),
    ('before the calendar begins', '2017-12-29 09:00+07', 3, 'WORKING_DAY', false, null),
    ('beyond its end', '2027-12-30 09:00+07', 30, 'WORKING_DAY', false, null)

),

by_hand as (

    select
        what,
        received_at::timestamptz as received_at,
        amount,
        unit,
        open_on_saturday,
        due_at::timestamptz as due_at
    from written

)

select
    by_hand.*,
    {{ function('deadline') }}(
        by_hand.received_at, by_hand.amount, by_hand.unit, by_hand.open_on_saturday
    ) as found
from by_hand
where {{ function('deadline') }}(
    by_hand.received_at, by_hand.amount, by_hand.unit, by_hand.open_on_saturday
) is distinct from by_hand.due_at
