-- name: read_times
-- When attempts were recorded and when payments succeeded, in the log's own time.
SELECT topic = 'payment.succeeded', (convert_from(state, 'UTF8')::jsonb->>'at')::timestamptz
  FROM events
 WHERE topic IN ('payment.succeeded', 'payment.gateway_attempted')
 ORDER BY notification_id
