-- name: holds_anything
SELECT EXISTS (SELECT 1 FROM events) OR EXISTS (SELECT 1 FROM snapshots) OR EXISTS (SELECT 1 FROM idempotency_keys)
       OR EXISTS (SELECT 1 FROM gateway_queue) OR EXISTS (SELECT 1 FROM projection_tracking WHERE position > 0)

-- name: adopt_identity
-- The hash chain begins with the store's id, so the copy must have the same id to have the same seals.
UPDATE ledger_identity SET ledger_id = %(ledger_id)s

-- name: set_inactive_head
-- The head after the log's last batch, in a store to which nothing may be appended before an operator activates it.
UPDATE log_head
   SET position = %(position)s, digest = %(digest)s, at = %(at)s, next_account_id = %(next_account_id)s,
       next_payment_sequence = %(next_payment_sequence)s, inactive = true
