-- name: claim_due
-- Workers race for these rows; SKIP LOCKED lets each take the rows that the others have not locked, without waiting.
-- The database's clock decides which rows are due, so a worker with a wrong clock does no harm. A claim counts the
-- attempt before the call. For a row with an expired lease it counts no new attempt, because the worker must first
-- record the outcome of the lost one. Inquiries are left alone while the clock may have been set forward. Nothing is
-- claimed while the gateway is paused or held, nor while its breaker is open, except for a probe and for lost calls, about
-- which nobody is called; those are no probes either. A hold that is longer than any can be is one of a former clock. The
-- last column is the clock, which the worker compares with its own.
WITH due AS MATERIALIZED (
    SELECT payment_id, leased_until IS NOT NULL AS lapsed
      FROM gateway_queue
     WHERE due_at <= now() AND (leased_until IS NULL OR leased_until < now()) AND (action = 'pay' OR %(inquiring)s)
       AND CASE WHEN action = 'pay' AND leased_until IS NOT NULL THEN NOT %(probing)s
                ELSE EXISTS (SELECT 1 FROM gateway_state
                              WHERE gateway = %(gateway)s AND paused_at IS NULL AND (opened_at IS NULL OR %(probing)s)
                                AND (held_until IS NULL OR held_until <= now() OR held_until > now() + %(hold_max)s))
            END
     ORDER BY due_at
     LIMIT %(limit)s
       FOR UPDATE SKIP LOCKED)
UPDATE gateway_queue AS q
   SET attempt = q.attempt + CASE WHEN q.action = 'pay' AND NOT due.lapsed THEN 1 ELSE 0 END,
       leased_until = now() + %(lease)s,
       leased_by = %(worker)s
  FROM due
 WHERE q.payment_id = due.payment_id
RETURNING q.payment_id, q.account_id, q.kind, q.amount_minor, q.fee_minor, q.currency, q.series, q.gateway_key,
          q.attempt, q.action, q.inquiries, q.unknown, q.payment_version, q.trace_context, due.lapsed, now()

-- name: next_due
-- The seconds until the next row is due, on the database's clock, and that clock; null for a queue without unleased
-- rows. It ignores when leases expire, because workers poll often enough for those. Then whether the breaker is open, and
-- the seconds until the gateway may be called; null while it is paused.
SELECT extract(epoch FROM (
           SELECT due_at FROM gateway_queue
            WHERE leased_until IS NULL AND (action = 'pay' OR %(inquiring)s)
            ORDER BY due_at LIMIT 1) - now())::float8,
       now(),
       opened_at IS NOT NULL,
       CASE WHEN paused_at IS NULL THEN extract(epoch FROM greatest(
           interval '0',
           CASE WHEN held_until <= now() + %(hold_max)s THEN held_until - now() END,
           CASE WHEN probe_at <= now() + %(interval)s THEN probe_at - now() END))::float8 END
  FROM gateway_state
 WHERE gateway = %(gateway)s
