-- name: remove_letters
-- Those that an operator need not look at any more.
DELETE FROM {dead_letter} WHERE payment_id = ANY (%(payment_id)b::bigint[])

-- name: store_letters
-- A payment has one letter at most; one that changes its state becomes a new one, with another position.
INSERT INTO {dead_letter} (payment_id, position, account_id, kind, amount_minor, fee_minor, currency, state, error,
                           attempts, created_at)
SELECT payment_id, position, account_id, kind, amount_minor, fee_minor, currency, state, error, attempts, created_at
  FROM unnest(%(payment_id)b::bigint[], %(position)b::bigint[], %(account_id)b::bigint[], %(kind)b::text[],
              %(amount_minor)b::bigint[], %(fee_minor)b::bigint[], %(currency)b::text[], %(state)b::text[],
              %(error)b::text[], %(attempts)b::bigint[], %(created_at)b::timestamptz[])
    AS r (payment_id, position, account_id, kind, amount_minor, fee_minor, currency, state, error, attempts, created_at)
 CROSS JOIN (SELECT count(*) FROM ledger_identity) AS here
    ON CONFLICT (payment_id) DO UPDATE
   SET position = EXCLUDED.position, state = EXCLUDED.state, error = EXCLUDED.error, attempts = EXCLUDED.attempts,
       created_at = EXCLUDED.created_at
