-- Periods written down by hand: the days on either side of a closing, a leap year, and the turn of a year.
with written (day, period_kind, closing, period, first_day, last_day) as (

    values
    ('2025-06-30', 'month', 'calendar', '2025-06', '2025-06-01', '2025-06-30'),
    ('2025-07-01', 'month', 'calendar', '2025-07', '2025-07-01', '2025-07-31'),
    ('2024-02-29', 'quarter', 'calendar', '2024-Q1', '2024-01-01', '2024-03-31'),
    ('2024-12-31', 'year', 'calendar', '2024', '2024-01-01', '2024-12-31'),
    ('2025-06-14', 'month', 'administrative', '2025-06', '2025-05-15', '2025-06-14'),
    ('2025-06-15', 'month', 'administrative', '2025-07', '2025-06-15', '2025-07-14'),
    ('2025-03-01', 'month', 'administrative', '2025-03', '2025-02-15', '2025-03-14'),
    ('2025-02-15', 'month', 'administrative', '2025-03', '2025-02-15', '2025-03-14'),
    ('2024-12-14', 'quarter', 'administrative', '2024-Q4', '2024-09-15', '2024-12-14'),
    ('2024-12-15', 'quarter', 'administrative', '2025-Q1', '2024-12-15', '2025-03-14'),
    ('2024-02-29', 'quarter', 'administrative', '2024-Q1', '2023-12-15', '2024-03-14'),
    ('2025-07-01', 'quarter', 'administrative', '2025-Q3', '2025-06-15', '2025-09-14'),
    ('2024-12-14', 'year', 'administrative', '2024', '2023-12-15', '2024-12-14'),
    ('2024-12-15', 'year', 'administrative', '2025', '2024-12-15', '2025-12-14')

),

named as (

    select
        *,
        {{ nominal_period_start('day::date', 'period_kind', 'closing') }} as nominal_start
    from written

)

select
    *,
    {{ period_label('nominal_start', 'period_kind') }} as found_period,
    {{ period_first_day('nominal_start', 'closing') }} as found_first_day,
    {{ period_last_day('nominal_start', 'period_kind', 'closing') }} as found_last_day
from named
where
    {{ period_label('nominal_start', 'period_kind') }} <> period
    or {{ period_first_day('nominal_start', 'closing') }} <> first_day::date
    or {{ period_last_day('nominal_start', 'period_kind', 'closing') }} <> last_day::date
