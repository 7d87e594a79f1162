-- Reviewed before it is needed: a figure that we can count may differ from ours with any build. Where the article says
-- when its period ends, the missing end is no excuse.
select
    published.province_code_old,
    published.period_label,
    published.indicator,
    published.cause_if_different
from {{ ref('published_figure') }} as published
left join {{ ref('published_indicator') }} as published_indicator
    on published.indicator = published_indicator.indicator
left join {{ ref('published_difference') }} as known on published.cause_if_different = known.cause
where
    published_indicator.indicator is null
    or (coalesce(published_indicator.not_computable_because, '') = '' and known.cause is null)
    or (published.cause_if_different = 'end_of_period_not_stated' and coalesce(published.data_to, '') <> '')
    or published.cause_if_different in ('equal', 'simulated_dossiers')
