-- name: page_of_stream
SELECT notification_id, originator_version, topic, state
  FROM events
 WHERE originator_id = %(stream)s AND originator_version > %(after)s
 ORDER BY originator_version
 LIMIT %(limit)s
