-- name: read_payments
-- The rows that a page will change. LATERAL with OFFSET 0 makes this one index look-up a payment, whatever the planner
-- believes about the table.
SELECT p.payment_id, p.account_id, p.kind, p.amount_minor, p.fee_minor, p.currency, p.state, p.status, p.attempts,
       p.last_error, p.next_retry_at, p.created_at, p.updated_at, p.position, p.ended_by, p.closed, p.contradictions
  FROM unnest(%(ids)b::bigint[]) AS k (payment_id)
 CROSS JOIN LATERAL (
           SELECT payment_id, account_id, kind, amount_minor, fee_minor, currency, state, status, attempts,
                  last_error, next_retry_at, created_at, updated_at, position, ended_by, closed, contradictions
             FROM {payment_status}
            WHERE payment_id = k.payment_id
           OFFSET 0) AS p

-- name: store_payments
-- New and changed rows in one statement: the conflict is found by the primary key, so no join can turn
-- into a scan. The facts of the request never change.
INSERT INTO {payment_status} (payment_id, account_id, kind, amount_minor, fee_minor, currency, state, status, attempts,
                              last_error, next_retry_at, created_at, updated_at, position, ended_by, closed,
                              contradictions)
SELECT payment_id, account_id, kind, amount_minor, fee_minor, currency, state, status, attempts, last_error,
       next_retry_at, created_at, updated_at, position, ended_by, closed, contradictions
  FROM unnest(%(payment_id)b::bigint[], %(account_id)b::bigint[], %(kind)b::text[], %(amount_minor)b::bigint[],
              %(fee_minor)b::bigint[], %(currency)b::text[], %(state)b::text[], %(status)b::text[],
              %(attempts)b::bigint[], %(last_error)b::text[], %(next_retry_at)b::timestamptz[],
              %(created_at)b::timestamptz[], %(updated_at)b::timestamptz[], %(position)b::bigint[],
              %(ended_by)b::text[], %(closed)b::boolean[], %(contradictions)b::bigint[])
    AS r (payment_id, account_id, kind, amount_minor, fee_minor, currency, state, status, attempts, last_error,
          next_retry_at, created_at, updated_at, position, ended_by, closed, contradictions)
 CROSS JOIN (SELECT count(*) FROM ledger_identity) AS here
    ON CONFLICT (payment_id) DO UPDATE
   SET state = EXCLUDED.state, status = EXCLUDED.status, attempts = EXCLUDED.attempts,
       last_error = EXCLUDED.last_error, next_retry_at = EXCLUDED.next_retry_at, updated_at = EXCLUDED.updated_at,
       position = EXCLUDED.position, ended_by = EXCLUDED.ended_by, closed = EXCLUDED.closed,
       contradictions = EXCLUDED.contradictions
