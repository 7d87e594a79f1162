-- Ranks as published for 2022, of the provinces of that day.
select
    ranked.year::smallint as dti_year,
    ranked.province_code,
    province.unit_name as province_name,
    province.new_province_code,
    ranked.dti_rank::smallint as dti_rank,
    'real' as origin
from {{ ref('dti_rank') }} as ranked
inner join {{ ref('province_old') }} as province on ranked.province_code = province.unit_code
