-- name: lead
-- Take the groups that nobody leads, or whose leader has not been heard of for as long as its lease, and renew the
-- lease of one's own. The database's clock decides, so a projector with a wrong clock does no harm. A lease that ends
-- later than one that begins now was taken before the clock was set back, and counts as ended: a leader that lives takes
-- another one. The rows are locked in the order of their names, as everywhere, so that two who do this at once cannot
-- wait for each other.
UPDATE projection_tracking
   SET leader = %(leader)s, leader_until = now() + %(lease)s
 WHERE name IN (
           SELECT name FROM projection_tracking
            WHERE leader = %(leader)s OR leader_until IS NULL OR leader_until < now()
               OR leader_until > now() + %(lease)s
            ORDER BY name FOR UPDATE)
RETURNING name, position, stopped_at_position, models

-- name: release
UPDATE projection_tracking
   SET leader = NULL, leader_until = NULL
 WHERE name IN (SELECT name FROM projection_tracking WHERE leader = %(leader)s ORDER BY name FOR UPDATE)

-- name: lock
-- The rows of the read models are read after this, and so as the last holder of the lock has left them.
SELECT position, models FROM projection_tracking WHERE name = %(name)s AND leader = %(leader)s FOR UPDATE

-- name: move
-- A compare-and-set: when it meets no row, somebody else has applied these events, and ours must not be committed.
UPDATE projection_tracking
   SET position = %(to_position)s, leader_until = now() + %(lease)s, stopped_at_position = NULL,
       stopped_because = NULL, updated_at = now()
 WHERE name = %(name)s AND position = %(from_position)s AND leader = %(leader)s

-- name: stop
UPDATE projection_tracking
   SET stopped_at_position = %(position)s, stopped_because = %(because)s, updated_at = now()
 WHERE name = %(name)s AND leader = %(leader)s

-- name: go_on
UPDATE projection_tracking
   SET stopped_at_position = NULL, stopped_because = NULL, updated_at = now()
 WHERE name = %(name)s AND leader = %(leader)s
