-- name: add_ends
-- The join to a table of the schema lets the node that owns the schema run the whole statement.
INSERT INTO {payment_end} AS e (kind, currency, ended, payments)
SELECT kind, currency, ended, payments
  FROM unnest(%(kind)b::text[], %(currency)b::text[], %(ended)b::text[], %(payments)b::bigint[])
       AS r (kind, currency, ended, payments)
 CROSS JOIN (SELECT count(*) FROM ledger_identity) AS here
    ON CONFLICT (kind, currency, ended) DO UPDATE SET payments = e.payments + EXCLUDED.payments
