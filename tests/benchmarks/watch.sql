-- name: read_sizes
-- How much WAL has ever been written, and how large the database is now.
SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint, pg_database_size(current_database())
