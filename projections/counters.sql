-- name: add_to_counters
INSERT INTO {counters} AS c (name, value)
SELECT name, value FROM unnest(%(name)b::text[], %(value)b::bigint[]) AS r (name, value)
    ON CONFLICT (name) DO UPDATE SET value = c.value + EXCLUDED.value
