-- name: read_stream
-- A stream from its latest snapshot of today's shape on, or whole where it has none.
WITH latest AS MATERIALIZED (
    SELECT originator_version, topic, state
      FROM snapshots
     WHERE originator_id = %(stream)s AND originator_version <= %(upto_version)s AND topic = %(snapshot_topic)s
     ORDER BY originator_version DESC
     LIMIT 1)
SELECT originator_version, topic, state, true AS is_snapshot FROM latest
 UNION ALL
SELECT originator_version, topic, state, false
  FROM events
 WHERE originator_id = %(stream)s
   AND originator_version > coalesce((SELECT originator_version FROM latest), 0)
   AND originator_version <= %(upto_version)s

-- name: read_placed_stream
SELECT notification_id, originator_version, topic, state
  FROM events
 WHERE originator_id = %(stream)s
 ORDER BY originator_version

-- name: read_version
-- One step of the search for a version by position or time: both grow with the version.
SELECT notification_id, topic, state
  FROM events
 WHERE originator_id = %(stream)s AND originator_version = %(version)s

-- name: read_last_version
SELECT max(originator_version) FROM events WHERE originator_id = %(stream)s
