-- name: allow_scan
-- The sum over the whole journal is the one read that has no index to go by.
SET LOCAL enable_seqscan = on
