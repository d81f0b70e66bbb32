-- name: read_counters
SELECT name, value FROM counters
