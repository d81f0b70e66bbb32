-- name: read_alive
-- By the database's clock, which is also the one that the heartbeats have.
SELECT instance FROM heartbeats WHERE part = %(part)s AND at > clock_timestamp() - %(fresh)s
