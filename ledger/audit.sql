-- name: read_stream_starts
-- The events of streams before a version of each, for streams whose beginning is not in memory. Snapshots have no say
-- here: they are what is to be proven. OFFSET 0 keeps this one index look-up a stream.
SELECT k.stream, e.originator_version, e.notification_id, e.topic, e.state
  FROM unnest(%(streams)b::text[], %(versions)b::bigint[]) AS k (stream, version)
 CROSS JOIN LATERAL (
           SELECT originator_version, notification_id, topic, state
             FROM events
            WHERE originator_id = k.stream AND originator_version < k.version
            ORDER BY originator_version
           OFFSET 0) AS e

-- name: read_next_position
SELECT notification_id FROM events WHERE notification_id > %(upto)s ORDER BY notification_id LIMIT 1

-- name: read_first_before_start
-- Positions count from 1. What stands before would be read with its stream, and by no page of the log.
SELECT notification_id FROM events WHERE notification_id < 1 ORDER BY notification_id LIMIT 1

-- name: read_snapshots
-- Those of a page's events. OFFSET 0 makes this one index look-up an event.
SELECT s.originator_id, s.originator_version, s.topic, s.state
  FROM unnest(%(streams)b::text[], %(versions)b::bigint[]) AS k (stream, version)
 CROSS JOIN LATERAL (
           SELECT originator_id, originator_version, topic, state
             FROM snapshots
            WHERE originator_id = k.stream AND originator_version = k.version
           OFFSET 0) AS s

-- name: page_of_baseless_snapshots
-- Snapshots of versions that no event has, page by page in the order of the key. A snapshot is written together with
-- its event, so each page, being one statement, sees both or neither.
SELECT s.originator_id, s.originator_version, e.originator_id IS NULL AS baseless
  FROM (SELECT originator_id, originator_version
          FROM snapshots
         WHERE (originator_id, originator_version) > (%(stream)s, %(version)s)
         ORDER BY originator_id, originator_version
         LIMIT %(limit)s) AS s
  LEFT JOIN LATERAL (
           SELECT originator_id
             FROM events
            WHERE originator_id = s.originator_id AND originator_version = s.originator_version
           OFFSET 0) AS e ON true
 ORDER BY s.originator_id, s.originator_version

-- name: page_of_keys
-- Idempotency keys, page by page in their order, each with the first event of what was made under it. They are written
-- together, so each page, being one statement, sees both or neither.
SELECT k.scope, k.key, k.subject_kind, k.subject_id, k.fingerprint_version, k.fingerprint,
       e.notification_id, e.topic, e.state
  FROM (SELECT scope, key, subject_kind, subject_id, fingerprint_version, fingerprint
          FROM idempotency_keys
         WHERE (scope, key) > (%(scope)s, %(key)s)
         ORDER BY scope, key
         LIMIT %(limit)s) AS k
  LEFT JOIN LATERAL (
           SELECT notification_id, topic, state
             FROM events
            WHERE originator_id = k.subject_kind || '-' || k.subject_id AND originator_version = 1
           OFFSET 0) AS e ON true
 ORDER BY k.scope, k.key

-- name: read_end
-- The head and the whole gateway queue at one moment. The queue changes only with the head, under its lock, but for the
-- leases and the attempts that they count.
SELECT h.position, h.digest, h.at, h.next_account_id, h.next_payment_sequence, h.withheld,
       q.payment_id, q.account_id, q.kind, q.amount_minor, q.fee_minor, q.currency, q.series, q.gateway_key,
       q.payment_version, q.due_at, q.attempt, q.action, q.inquiries, q.unknown, q.leased_until IS NOT NULL
  FROM head AS h
  LEFT JOIN gateway_queue AS q ON true
