-- name: begin_reading
-- All reads of a rehearsal see the same moment.
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY

-- name: read_pending
-- The sum that pending deposits would credit. It is exact, because deposits enter and leave the queue, and become those
-- that are asked about late, only under the head lock, in the transactions that request and end payments.
SELECT k.account_id, q.pending_minor
  FROM unnest(%(account_ids)b::bigint[]) AS k (account_id)
 CROSS JOIN LATERAL (
           SELECT sum(amount_minor - fee_minor)::bigint AS pending_minor
             FROM gateway_queue
            WHERE account_id = k.account_id AND kind = 'deposit' AND action <> 'inquire_late'
           OFFSET 0) AS q
 WHERE q.pending_minor IS NOT NULL

-- name: count_waiting
-- The payments that have not ended. It is exact for the same reason. Each one has a row, which is about something else
-- than a late inquiry.
SELECT k.account_id, q.waiting
  FROM unnest(%(account_ids)b::bigint[]) AS k (account_id)
 CROSS JOIN LATERAL (
           SELECT count(*) AS waiting
             FROM (SELECT payment_id
                     FROM gateway_queue
                    WHERE account_id = k.account_id AND action <> 'inquire_late'
                    LIMIT %(most)b) AS w
           OFFSET 0) AS q

-- name: read_missing_rights
-- The rights that a batch needs and the session's role does not have. It locks no table, so it answers also while an
-- operator has one locked.
SELECT r.relation || ': ' || r.privilege
  FROM (VALUES ('events', 'INSERT'), ('events', 'SELECT'), ('snapshots', 'INSERT'), ('snapshots', 'SELECT'),
               ('idempotency_keys', 'INSERT'), ('idempotency_keys', 'SELECT'), ('gateway_queue', 'INSERT'),
               ('gateway_queue', 'SELECT'), ('gateway_queue', 'UPDATE'), ('gateway_queue', 'DELETE'),
               ('ledger_identity', 'SELECT')) AS r (relation, privilege)
 WHERE NOT has_table_privilege(r.relation, r.privilege)
