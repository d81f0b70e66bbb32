-- name: holds_anything
SELECT EXISTS (SELECT 1 FROM events) OR EXISTS (SELECT 1 FROM snapshots) OR EXISTS (SELECT 1 FROM idempotency_keys)
       OR EXISTS (SELECT 1 FROM gateway_queue) OR EXISTS (SELECT 1 FROM tracking WHERE position > 0)

-- name: adopt_identity
-- The seals hang on the ledger's id, and the copy is to have the same ones.
UPDATE identity SET ledger_id = %(ledger_id)s

-- name: withhold
-- The head as the log's last batch had left it, in a store that nobody may append to before it is taken over.
UPDATE head
   SET position = %(position)s, digest = %(digest)s, at = %(at)s, next_account_id = %(next_account_id)s,
       next_payment_sequence = %(next_payment_sequence)s, withheld = true
