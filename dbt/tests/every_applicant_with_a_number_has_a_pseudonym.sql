-- A dossier without one although the vault made it, or with another, would fall out of its agency's list of a person.
select fact.dossier_key
from {{ ref('fct_dossier') }} as fact
inner join {{ ref('int_dossiers__one_per_dossier') }} as dossier on fact.dossier_key = dossier.dossier_key
where
    {{ is_written_since_tested('fact.load_number') }}
    and fact.applicant_pseudonym is distinct from dossier.applicant_pseudonym
