-- name: store_entries
-- Entries are only ever added. A position that is there already would be an event applied twice, and is refused by the
-- primary key.
INSERT INTO {journal} (position, account_id, payment_id, currency, customer_minor, gateway_clearing_minor,
                       fee_revenue_minor, opening_equity_minor, balance_after_minor, at)
SELECT position, account_id, payment_id, currency, customer_minor, gateway_clearing_minor, fee_revenue_minor,
       opening_equity_minor, balance_after_minor, at
  FROM unnest(%(position)b::bigint[], %(account_id)b::bigint[], %(payment_id)b::bigint[], %(currency)b::text[],
              %(customer_minor)b::bigint[], %(gateway_clearing_minor)b::bigint[], %(fee_revenue_minor)b::bigint[],
              %(opening_equity_minor)b::bigint[], %(balance_after_minor)b::bigint[], %(at)b::timestamptz[])
    AS e (position, account_id, payment_id, currency, customer_minor, gateway_clearing_minor, fee_revenue_minor,
          opening_equity_minor, balance_after_minor, at)
