-- name: page_of_letters
SELECT payment_id, account_id, kind, amount_minor, fee_minor, currency, position, state, error, attempts, created_at
  FROM dead_letter
 ORDER BY position DESC
 LIMIT %(limit)s
OFFSET %(offset)s
