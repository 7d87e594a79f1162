select
    agency_code,
    person_token,
    pseudonym
from {{ source('raw', 'person_pseudonym') }}
