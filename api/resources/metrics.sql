-- name: read_counters
SELECT name, value FROM counters

-- name: read_ends
SELECT kind, currency, ended, payments FROM payment_end
