-- name: read_stream_starts
-- For each stream its events before a version, for streams that are not in memory. Snapshots are not used, because the
-- audit checks them too. OFFSET 0 makes this one index look-up for each stream.
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
-- Positions count from 1. No page of the log contains an event at a lower position, but its stream does.
SELECT notification_id FROM events WHERE notification_id < 1 ORDER BY notification_id LIMIT 1

-- name: read_snapshots
-- The snapshots at the versions of a page's events. OFFSET 0 makes this one index look-up for each event.
SELECT s.originator_id, s.originator_version, s.topic, s.state
  FROM unnest(%(streams)b::text[], %(versions)b::bigint[]) AS k (stream, version)
 CROSS JOIN LATERAL (
           SELECT originator_id, originator_version, topic, state
             FROM snapshots
            WHERE originator_id = k.stream AND originator_version = k.version
           OFFSET 0) AS s

-- name: page_of_snapshots
-- A page of snapshots in the order of their key; `orphaned` marks those without an event of their version. A snapshot
-- is written in one transaction with its event, so a page, which is one statement, sees both or neither.
SELECT s.originator_id, s.originator_version, e.originator_id IS NULL AS orphaned
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
-- A page of idempotency keys in the order of their key, each with the events of which one used it: the first event of
-- its account or payment, and for the key of an operator's decision, whose scope is the payment's stream, all events of
-- the payment. Both are written in one transaction, so a page, which is one statement, sees both or neither.
SELECT k.scope, k.key, k.subject_kind, k.subject_id, k.fingerprint_version, k.fingerprint,
       e.position, e.topics, e.states
  FROM (SELECT scope, key, subject_kind, subject_id, fingerprint_version, fingerprint
          FROM idempotency_keys
         WHERE (scope, key) > (%(scope)s, %(key)s)
         ORDER BY scope, key
         LIMIT %(limit)s) AS k
  LEFT JOIN LATERAL (
           SELECT min(notification_id) AS position, array_agg(topic) AS topics, array_agg(state) AS states
             FROM events
            WHERE originator_id = k.subject_kind || '-' || k.subject_id
              AND originator_version <= CASE k.scope WHEN k.subject_kind || '-' || k.subject_id
                                           THEN 9223372036854775807 ELSE 1 END
           OFFSET 0) AS e ON true
 ORDER BY k.scope, k.key

-- name: read_end
-- The head and the whole gateway queue in one snapshot. The writer changes the queue only together with the head, under
-- the head lock. Workers change only leases, the attempts that their claims count, and when an entry is
-- due, after a 429 and after the clock was set.
-- A time that the driver cannot read is read as the nearest one that it can.
SELECT h.position, h.digest, greatest(least(h.at, timestamptz '9999-12-30 UTC'), timestamptz '0001-01-02 UTC'),
       h.next_account_id, h.next_payment_sequence, h.inactive,
       q.payment_id, q.account_id, q.kind, q.amount_minor, q.fee_minor, q.currency, q.series, q.gateway_key,
       q.payment_version,
       greatest(least(q.due_at, timestamptz '9999-12-30 UTC'), timestamptz '0001-01-02 UTC'), q.attempt, q.action,
       q.inquiries, q.unknown, q.leased_until IS NOT NULL
  FROM log_head AS h
  LEFT JOIN gateway_queue AS q ON true

-- name: read_head
-- A time that the driver cannot read is read as the nearest one that it can.
SELECT position, digest, greatest(least(at, timestamptz '9999-12-30 UTC'), timestamptz '0001-01-02 UTC'),
       next_account_id, next_payment_sequence, inactive
  FROM log_head
