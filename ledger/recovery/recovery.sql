-- name: read_server
-- The server and its timeline, which a promotion and a restore to a moment change. The name of the file that the server
-- writes now begins with the timeline; pg_control_checkpoint() would tell the former one until the next checkpoint. A
-- server in recovery raises 55000 here, and is not written to.
SELECT (SELECT system_identifier FROM pg_control_system()) || '/'
       || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)

-- name: read_noted
SELECT server FROM store_origin

-- name: note_first
INSERT INTO store_origin (only_row, server) VALUES (true, %(server)s) ON CONFLICT DO NOTHING

-- name: note
UPDATE store_origin SET server = %(server)s

-- name: read_version
-- The number of recoveries so far.
SELECT coalesce(max(originator_version), 0) FROM events WHERE originator_id = %(stream)s

-- name: read_last
SELECT originator_version, topic, state
  FROM events
 WHERE originator_id = %(stream)s
 ORDER BY originator_version DESC
 LIMIT 1

-- name: read_last_change
-- The last event that is not of the stream of operation. Pauses and breakers may be the only events after a restore.
SELECT originator_id, originator_version, topic, state
  FROM events
 WHERE originator_id <> %(operation)s
 ORDER BY notification_id DESC
 LIMIT 1

-- name: count_calls_as_begun
-- The gateway may have got each of these calls, whenever it is due by this queue. The statement leaves an entry in the
-- state in which a worker leaves it that dies during the call. An entry with a lease is in that state already.
UPDATE gateway_queue
   SET attempt = attempt + 1, leased_until = %(now)s, leased_by = %(leased_by)s
 WHERE action = 'pay' AND leased_until IS NULL
