-- name: store_postings
-- Postings are only ever added. A position that is there already would be an event applied twice, and is refused by the
-- primary key. The join to a table of the schema lets the node that owns the schema run the whole
-- statement.
INSERT INTO {journal_posting} (position, number, account, account_id, gateway, direction, amount_minor, currency,
                               balance_after_minor)
SELECT position, number, account, account_id, gateway, direction, amount_minor, currency, balance_after_minor
  FROM unnest(%(position)b::bigint[], %(number)b::bigint[], %(account)b::text[], %(account_id)b::bigint[],
              %(gateway)b::text[], %(direction)b::text[], %(amount_minor)b::bigint[], %(currency)b::text[],
              %(balance_after_minor)b::bigint[])
    AS p (position, number, account, account_id, gateway, direction, amount_minor, currency, balance_after_minor)
 CROSS JOIN (SELECT count(*) FROM ledger_identity) AS here

-- name: store_entries
-- The sums are those of the postings that the statement before this one has added in the same transaction, read from
-- their table and not given by the program: the CHECK on the entry so proves the books and not an intention. All
-- postings of a page lie between its first and its last, and none of another page does. One whose entry was not given
-- finds no time, which the table refuses.
INSERT INTO {journal_entry} (position, currency, payment_id, at, debit_minor, credit_minor)
SELECT position, s.currency, e.payment_id, e.at, s.debit_minor, s.credit_minor
  FROM (SELECT position, currency,
               coalesce(sum(amount_minor) FILTER (WHERE direction = 'debit'), 0)::bigint AS debit_minor,
               coalesce(sum(amount_minor) FILTER (WHERE direction = 'credit'), 0)::bigint AS credit_minor
          FROM {journal_posting}
         WHERE position BETWEEN %(first)b::bigint AND %(last)b::bigint
         GROUP BY position, currency) AS s
  LEFT JOIN unnest(%(position)b::bigint[], %(payment_id)b::bigint[], %(at)b::timestamptz[])
         AS e (position, payment_id, at) USING (position)
