-- name: beat
INSERT INTO heartbeats (part, instance, at) VALUES (%(part)s, %(instance)s, clock_timestamp())
    ON CONFLICT (part, instance) DO UPDATE SET at = EXCLUDED.at

-- name: rest
DELETE FROM heartbeats WHERE part = %(part)s AND instance = %(instance)s

-- name: forget_dead
-- Instances that were killed leave their row behind. It stays long enough to be seen.
DELETE FROM heartbeats WHERE part = %(part)s AND at < clock_timestamp() - %(kept)s
