-- name: read_pending
-- What the deposits on their way would credit. Exact, because the queue changes only under the head's lock, in the
-- transactions that request and end payments.
SELECT k.account_id, q.pending_minor
  FROM unnest(%(account_ids)b::bigint[]) AS k (account_id)
 CROSS JOIN LATERAL (
           SELECT sum(amount_minor - fee_minor)::bigint AS pending_minor
             FROM gateway_queue
            WHERE account_id = k.account_id AND kind = 'deposit'
           OFFSET 0) AS q
 WHERE q.pending_minor IS NOT NULL
