{{ config(severity='warn') }}

-- A step whose dossier was rejected waits in raw until the dossier is replayed: it is told after each build.
select * from {{ ref('int_dossiers__waiting_step') }}
