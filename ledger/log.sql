-- name: begin
BEGIN ISOLATION LEVEL READ COMMITTED

-- name: commit
COMMIT

-- name: lock_head
-- The row lock is the right to append; whoever waits here goes on when the holder has committed. The statements of a
-- batch that read anything else come after this one, as they would else miss what the last holder has just committed.
SELECT position, digest, at, next_account_id, next_payment_sequence, withheld FROM head FOR UPDATE

-- name: lock_head_to_append
-- The same and what else an append begins with, in one statement, because each costs time to send. The CTE makes the
-- rest come after the wait for the head: the database's clock, and the bound of five seconds, which so counts from the
-- moment at which the lock is held. Whoever hangs with it holds the others up no longer than that, because the server
-- then ends his session. The time-out for idle transactions does not do: psycopg ends a pipeline with a Flush behind its
-- Sync, and the server stops that clock at the Flush for good.
WITH locked AS MATERIALIZED (
    SELECT position, digest, at, next_account_id, next_payment_sequence, withheld FROM head FOR UPDATE)
SELECT position, digest, at, next_account_id, next_payment_sequence, withheld, clock_timestamp(),
       set_config('transaction_timeout', '5s', true)
  FROM locked

-- name: read_head
SELECT position, digest, at, next_account_id, next_payment_sequence, withheld FROM head

-- name: read_clock
-- The database's clock at this moment, and not at the transaction's start, which lies before the wait for the head.
SELECT clock_timestamp()

-- name: insert_events
-- One row for each place of the arrays. Versions and positions are unique by index, so a second writer that should not
-- be there cannot write over the first.
INSERT INTO events (originator_id, originator_version, topic, state, notification_id, digest)
SELECT originator_id, originator_version, topic, state, notification_id, digest
  FROM unnest(%(originator_ids)b::text[], %(originator_versions)b::bigint[], %(topics)b::text[], %(states)b::bytea[],
              %(positions)b::bigint[], %(digests)b::bytea[])
    AS e (originator_id, originator_version, topic, state, notification_id, digest)

-- name: move_head
-- A compare-and-set: when it meets no row, somebody else has moved the head, and the batch must not be committed.
UPDATE head
   SET position = %(position)s, digest = %(digest)s, at = %(at)s, next_account_id = %(next_account_id)s,
       next_payment_sequence = %(next_payment_sequence)s
 WHERE position = %(from_position)s

-- name: read_positions
-- A page of the log. Positions have no gaps and commit in order, so a reader that stands at one has missed nothing.
SELECT notification_id, originator_id, originator_version, topic, state
  FROM events
 WHERE notification_id > %(after)s AND notification_id <= %(upto)s
 ORDER BY notification_id

-- name: read_sealed
-- The same with the seals, for whoever checks them.
SELECT notification_id, originator_id, originator_version, topic, state, digest
  FROM events
 WHERE notification_id > %(after)s AND notification_id <= %(upto)s
 ORDER BY notification_id

-- name: read_digest
SELECT digest FROM events WHERE notification_id = %(position)s

-- name: read_first_beyond_head
-- In one statement, and so in one snapshot: a batch that commits meanwhile moves both.
SELECT notification_id
  FROM events
 WHERE notification_id > (SELECT position FROM head)
 ORDER BY notification_id
 LIMIT 1

-- name: read_streams
-- Streams with their latest snapshot of today's shape and the events after it, all in one round trip. OFFSET 0 keeps the planner from
-- turning the look-ups by key into a scan of the whole table.
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
