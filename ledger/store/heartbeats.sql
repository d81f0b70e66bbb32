-- name: beat
INSERT INTO heartbeats (part, instance, at) VALUES (%(part)s, %(instance)s, clock_timestamp())
    ON CONFLICT (part, instance) DO UPDATE SET at = EXCLUDED.at

-- name: delete_own
DELETE FROM heartbeats WHERE part = %(part)s AND instance = %(instance)s

-- name: delete_dead
-- A killed instance leaves its row. The row stays long enough for an operator to see it. A heartbeat of the future was
-- sent before the clock was set back; an instance that lives sends the next one in a moment.
DELETE FROM heartbeats
 WHERE part = %(part)s AND (at < now() - %(kept)s OR at > now() + %(fresh)s)
