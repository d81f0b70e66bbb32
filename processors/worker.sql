-- name: claim_due
-- Workers race for these rows; SKIP LOCKED lets each take what the others left, without waiting. The database's clock
-- decides what is due, so a worker with a wrong clock does no harm. The claim of a call counts the attempt before it is
-- made; a row whose lease has run out is only taken over, because what became of its attempt has to be recorded first.
WITH due AS MATERIALIZED (
    SELECT payment_id, leased_until IS NOT NULL AS lapsed
      FROM gateway_queue
     WHERE due_at <= now() AND (leased_until IS NULL OR leased_until < now())
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
          q.attempt, q.action, q.inquiries, q.unknown, q.payment_version, q.trace_context, due.lapsed

-- name: next_due
-- How long until something is due, in seconds on the database's clock; null for an empty queue. When a lease runs out is
-- not asked for: nobody waits for that more closely than a worker looks by itself.
SELECT extract(epoch FROM (SELECT due_at FROM gateway_queue WHERE leased_until IS NULL ORDER BY due_at LIMIT 1) - now())
       ::float8
