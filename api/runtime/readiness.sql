-- name: read_alive
-- By the database's clock, which is also the one that the heartbeats have. One of the future was sent before that clock
-- was set back, and shows nobody alive.
SELECT instance FROM heartbeats
 WHERE part = %(part)s AND at BETWEEN clock_timestamp() - %(fresh)s AND clock_timestamp() + %(fresh)s
