-- Two agencies cannot join their lists: no pseudonym stands at both, and none is a token, which would.
select
    applicant_pseudonym,
    count(distinct responsible_agency_code) as agency_count
from {{ ref('fct_dossier') }}
where applicant_pseudonym is not null
group by applicant_pseudonym
having count(distinct responsible_agency_code) > 1 or applicant_pseudonym !~ '^ps[0-9]+_[0-9a-f]+$'
