-- name: select_events
-- Reads one stream for the library, from the events or from the snapshots, in either direction.
SELECT originator_id, originator_version, topic, state
  FROM {table}
 WHERE originator_id = %(originator_id)s
   AND (%(gt)s::bigint IS NULL OR originator_version > %(gt)s)
   AND (%(lte)s::bigint IS NULL OR originator_version <= %(lte)s)
   AND (%(topic)s::text IS NULL OR topic = %(topic)s)
 ORDER BY originator_version {direction}
 LIMIT %(limit)s

-- name: select_placed
SELECT notification_id, originator_id, originator_version, topic, state
  FROM events
 WHERE originator_id = %(originator_id)s
   AND originator_version > %(gt)s
   AND (%(lte)s::bigint IS NULL OR originator_version <= %(lte)s)
 ORDER BY originator_version
 LIMIT %(limit)s

-- name: select_notifications
-- Uses the index on positions and filters topics after it.
SELECT originator_id, originator_version, topic, state, notification_id
  FROM events
 WHERE (%(start)s::bigint IS NULL OR notification_id >= %(start)s)
   AND (%(stop)s::bigint IS NULL OR notification_id <= %(stop)s)
   AND (%(topics)s::text[] IS NULL OR topic = ANY (%(topics)s))
 ORDER BY notification_id
 LIMIT %(limit)s

-- name: max_notification_id
SELECT max(notification_id) FROM events
