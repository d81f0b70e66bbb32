-- name: list_letters
SELECT payment_id, account_id, kind, amount_minor, fee_minor, currency, position, state, error, attempts, created_at
  FROM dead_letter
 WHERE %(state)s::text IS NULL OR state = %(state)s
 ORDER BY position DESC
 LIMIT %(limit)s
OFFSET %(offset)s

-- name: read_letter
SELECT payment_id, account_id, kind, amount_minor, fee_minor, currency, position, state, error, attempts, created_at
  FROM dead_letter
 WHERE payment_id = %(payment_id)s
