-- name: read_in_force
-- The settings of the session, for a comparison with the settings that it asked for. A pooler may have dropped the
-- start-up options.
SELECT pg_backend_pid(), getdatabaseencoding(),
       ARRAY(SELECT current_setting(name, true)
               FROM unnest(%(names)s::text[]) WITH ORDINALITY AS n (name, number)
              ORDER BY number)

-- name: put_in_force
-- For the session and not for a transaction, so no ROLLBACK takes it back. It gives the values as the server writes
-- them.
SELECT ARRAY(SELECT set_config(name, value, false)
               FROM unnest(%(names)s::text[], %(values)s::text[]) WITH ORDINALITY AS n (name, value, number)
              ORDER BY number)

-- name: read_pid
SELECT pg_backend_pid()
