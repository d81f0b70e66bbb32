-- name: read_sizes
-- The WAL position in bytes, and the size of the database.
SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint, pg_database_size(current_database())
