-- name: begin
BEGIN ISOLATION LEVEL READ COMMITTED

-- name: commit
COMMIT

-- name: lock_head
-- The row lock is the right to append. A session that waits here continues when the holder has committed. All other
-- reads of a batch follow this statement, because they would otherwise miss the holder's last commit.
SELECT position, digest, at, next_account_id, next_payment_sequence, inactive FROM log_head FOR UPDATE

-- name: lock_head_to_append
-- Locks the head, reads the clock and sets a time limit in one statement, because each statement costs time to send.
-- The CTE makes the server read the clock and start the limit after it has waited for the lock, so the limit counts
-- from the moment the session holds the lock. A session that stalls while holding the head lock is terminated after 5
-- s, so it cannot block the other writers for longer. idle_in_transaction_session_timeout cannot replace this limit:
-- psycopg ends a pipeline with a Flush after its Sync, and the server stops that clock at the Flush for good.
WITH locked AS MATERIALIZED (
    SELECT position, digest, at, next_account_id, next_payment_sequence, inactive FROM log_head FOR UPDATE)
SELECT position, digest, at, next_account_id, next_payment_sequence, inactive, clock_timestamp(),
       set_config('transaction_timeout', '5s', true)
  FROM locked

-- name: read_head
SELECT position, digest, at, next_account_id, next_payment_sequence, inactive FROM log_head

-- name: read_clock
-- The database's clock now. now() would give the transaction's start, which is before the wait for the head lock.
SELECT clock_timestamp()

-- name: insert_events
-- One row for each element of the arrays. The join to a table of the schema, here and in every statement like this one,
-- lets the node that owns the schema run the whole statement; without it, the data would go through the coordinator,
-- and a fault of the data would arrive as an internal error. count(*) gives one row, whatever the table holds. Unique
-- indexes on versions and positions stop a second writer, which should not exist, from overwriting the first.
INSERT INTO events (originator_id, originator_version, topic, state, notification_id, digest)
SELECT originator_id, originator_version, topic, state, notification_id, digest
  FROM unnest(%(originator_ids)b::text[], %(originator_versions)b::bigint[], %(topics)b::text[], %(states)b::bytea[],
              %(positions)b::bigint[], %(digests)b::bytea[])
    AS e (originator_id, originator_version, topic, state, notification_id, digest)
 CROSS JOIN (SELECT count(*) FROM ledger_identity) AS here

-- name: move_head
-- A compare-and-set. When it updates no row, another session has moved the head, and the batch must not be committed.
UPDATE log_head
   SET position = %(position)s, digest = %(digest)s, at = %(at)s, next_account_id = %(next_account_id)s,
       next_payment_sequence = %(next_payment_sequence)s
 WHERE position = %(from_position)s

-- name: read_positions
-- A page of the log. Positions have no gaps and commit in order, so a reader at position n has seen all events up to n.
SELECT notification_id, originator_id, originator_version, topic, state
  FROM events
 WHERE notification_id > %(after)s AND notification_id <= %(upto)s
 ORDER BY notification_id

-- name: read_sealed
-- The same page with its seals, for readers that check them.
SELECT notification_id, originator_id, originator_version, topic, state, digest
  FROM events
 WHERE notification_id > %(after)s AND notification_id <= %(upto)s
 ORDER BY notification_id

-- name: read_digest
SELECT digest FROM events WHERE notification_id = %(position)s

-- name: read_first_beyond_head
-- One statement uses one snapshot, so a batch that commits at the same time is seen in both tables or in neither.
SELECT notification_id
  FROM events
 WHERE notification_id > (SELECT position FROM log_head)
 ORDER BY notification_id
 LIMIT 1

-- name: read_streams
-- For each stream the latest snapshot in the current shape and the events after it, in one round trip. OFFSET 0 keeps
-- the planner from turning the look-ups by key into a scan of the whole table.
WITH latest AS MATERIALIZED (
    SELECT k.stream, s.originator_version, s.topic, s.state
      FROM unnest(%(streams)b::text[]) AS k (stream)
      LEFT JOIN LATERAL (
               SELECT originator_version, topic, state
                 FROM snapshots
                WHERE originator_id = k.stream AND topic = %(snapshot_topic)s
                ORDER BY originator_version DESC
                LIMIT 1) AS s ON true)
SELECT stream, originator_version, topic, state FROM latest WHERE topic IS NOT NULL
 UNION ALL
SELECT k.stream, e.originator_version, e.topic, e.state
  FROM latest AS k
 CROSS JOIN LATERAL (
           SELECT originator_version, topic, state
             FROM events
            WHERE originator_id = k.stream AND originator_version > coalesce(k.originator_version, 0)
            ORDER BY originator_version
           OFFSET 0) AS e

-- name: insert_snapshots
INSERT INTO snapshots (originator_id, originator_version, topic, state)
SELECT originator_id, originator_version, topic, state
  FROM unnest(%(originator_ids)b::text[], %(originator_versions)b::bigint[], %(topics)b::text[], %(states)b::bytea[])
    AS s (originator_id, originator_version, topic, state)
 CROSS JOIN (SELECT count(*) FROM ledger_identity) AS here
