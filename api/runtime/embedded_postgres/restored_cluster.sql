-- name: read_recovery
SELECT pg_is_in_recovery()
