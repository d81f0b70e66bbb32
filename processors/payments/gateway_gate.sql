-- name: give_back_calls
-- Calls that were surely not accepted. The claim counted an attempt for each, which it did not use up; an entry that
-- another worker has claimed since stays as it is. One that got a 429 is due later, so the others are called before it.
UPDATE gateway_queue AS q
   SET attempt = q.attempt - 1, leased_until = NULL, leased_by = NULL, due_at = coalesce(now() + c.wait, q.due_at)
  FROM unnest(%(payment_ids)b::bigint[], %(series)b::bigint[], %(attempts)b::bigint[], %(waits)s::interval[])
    AS c (payment_id, series, attempt, wait)
 WHERE q.payment_id = c.payment_id AND q.series = c.series AND q.attempt = c.attempt
   AND q.action = 'pay' AND q.leased_by = %(worker)s

-- name: hold
-- Lets nobody call the gateway for a while. A longer hold stays, unless it is longer than any can be: then it is one of
-- a former clock.
UPDATE gateway_state
   SET held_until = CASE WHEN held_until <= now() + %(hold_max)s THEN greatest(held_until, now() + %(wait)s)
                         ELSE now() + %(wait)s END
 WHERE gateway = %(gateway)s

-- name: begin_probe
-- Workers race for the probe, and the first one sets the time of the next. A time that is further away than that is one
-- of a former clock.
UPDATE gateway_state
   SET probe_at = now() + %(interval)s
 WHERE gateway = %(gateway)s AND opened_at IS NOT NULL AND paused_at IS NULL
   AND (probe_at <= now() OR probe_at > now() + %(interval)s)
   AND (held_until IS NULL OR held_until <= now() OR held_until > now() + %(hold_max)s)
