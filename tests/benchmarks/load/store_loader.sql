-- name: copy_events
COPY events (originator_id, originator_version, topic, state, notification_id, digest) FROM STDIN (FORMAT BINARY)

-- name: copy_keys
COPY idempotency_keys (scope, key, subject_kind, subject_id, fingerprint_version, fingerprint) FROM STDIN (FORMAT BINARY)

-- name: copy_snapshots
COPY snapshots (originator_id, originator_version, topic, state) FROM STDIN (FORMAT BINARY)

-- name: vacuum
-- As autovacuum does soon after so many rows. Until then, reading a row for the first time may write its page.
VACUUM ANALYZE
