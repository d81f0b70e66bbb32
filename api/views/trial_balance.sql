-- name: prepare_sums
-- The sum over the whole journal is the only read that cannot use an index, and so it has a limit of its own: 0 is none.
SELECT set_config('enable_seqscan', 'on', true), set_config('statement_timeout', %(milliseconds_max)s::text, true)

-- name: read_set_aside
SELECT DISTINCT stream FROM projection_set_aside ORDER BY stream
