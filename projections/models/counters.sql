-- name: add_to_counters
-- The join to a table of the schema lets the node that owns the schema run the whole statement.
INSERT INTO {counters} AS c (name, value)
SELECT name, value
  FROM unnest(%(name)b::text[], %(value)b::bigint[]) AS r (name, value)
 CROSS JOIN (SELECT count(*) FROM ledger_identity) AS here
    ON CONFLICT (name) DO UPDATE SET value = c.value + EXCLUDED.value
