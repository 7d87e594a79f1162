-- psql's \df+ shows what a function is for, in Vietnamese and English; deadline is made after the three it calls.
-- depends_on: {{ function('deadline') }}
select proname
from pg_proc
where
    pronamespace = 'marts'::regnamespace
    and coalesce(obj_description(oid, 'pg_proc'), '') not like '% · %'
