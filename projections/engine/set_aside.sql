-- name: read_streams
SELECT stream FROM {projection_set_aside} WHERE name = %(name)s

-- name: read_all
SELECT name, stream, account_id, position, because FROM projection_set_aside ORDER BY name, stream

-- name: read_first_event
SELECT topic, state FROM events WHERE originator_id = %(stream)s AND originator_version = 1

-- name: set_aside
INSERT INTO {projection_set_aside} (name, stream, account_id, position, because)
VALUES (%(name)s, %(stream)s, %(account_id)s, %(position)s, %(because)s)
