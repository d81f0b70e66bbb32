-- name: read_state
-- The state that follows from the events, the times that no event has, and the clock.
SELECT paused_at, paused_why, paused_by, opened_at, opened_why, opened_by, probe_at, held_until, clock_timestamp()
  FROM gateway_state
 WHERE gateway = %(gateway)s

-- name: write_state
UPDATE gateway_state
   SET paused_at = %(paused_at)s, paused_why = %(paused_why)s, paused_by = %(paused_by)s,
       opened_at = %(opened_at)s, opened_why = %(opened_why)s, opened_by = %(opened_by)s, probe_at = %(probe_at)s
 WHERE gateway = %(gateway)s

-- name: touch_state
UPDATE gateway_state SET gateway = gateway WHERE gateway = %(gateway)s

-- name: read_version
-- The number of changes so far.
SELECT coalesce(max(originator_version), 0) FROM events WHERE originator_id = %(stream)s
