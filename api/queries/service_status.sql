-- name: read_read_models
-- The first event that a group has not applied comes as it is stored, because one that cannot be read must not make the
-- whole status fail.
SELECT t.name, t.position, h.position - t.position, e.state, t.stopped_at_position, t.stopped_because, t.models
  FROM projection_tracking AS t
 CROSS JOIN log_head AS h
  LEFT JOIN events AS e ON e.notification_id = t.position + 1
 ORDER BY t.name

-- name: read_set_aside
SELECT name, stream, position, because FROM projection_set_aside ORDER BY name, position

-- name: read_position
-- Shows that the schema has a ledger. It counts no rows, so it is fast in any store.
SELECT position FROM log_head

-- name: read_queue
-- The number of open payments in the queue, and for how many seconds, on the database's clock, the first of them has been
-- due. The log's last time is ahead of that clock when the clock was set back, or had been ahead itself. A long queue is
-- not counted, because health is asked for every few seconds: the server's own estimate stands for it.
WITH counted AS (
    SELECT count(*) AS waiting
      FROM (SELECT FROM gateway_queue WHERE action <> 'inquire_late' LIMIT %(count_max)s + 1) AS few)
SELECT now(),
       (SELECT position FROM log_head),
       (SELECT greatest(extract(epoch FROM at - now()), 0) FROM log_head)::float8,
       (SELECT inactive FROM log_head),
       (SELECT CASE WHEN waiting <= %(count_max)s THEN waiting
                    ELSE greatest(waiting, (SELECT reltuples::bigint FROM pg_class
                                             WHERE oid = to_regclass('gateway_queue'))) END
          FROM counted),
       coalesce(greatest(extract(epoch FROM now() - (SELECT due_at FROM gateway_queue ORDER BY due_at LIMIT 1)), 0), 0)
           ::float8

-- name: read_letters
-- The number of letters in each state, and for how many seconds, on the database's clock, the oldest has been in it. Long
-- lists are not counted, like a long queue: the server's statistics know how large the share of each state is.
SELECT s.state,
       CASE WHEN c.letters <= %(count_max)s THEN c.letters
            ELSE greatest(c.letters, (
                SELECT (r.reltuples * f.share)::bigint
                  FROM pg_class AS r, pg_stats AS p,
                       unnest(p.most_common_vals::text::text[], p.most_common_freqs) AS f (state, share)
                 WHERE r.oid = to_regclass('dead_letter') AND p.schemaname = current_schema()
                   AND p.tablename = 'dead_letter' AND p.attname = 'state' AND f.state = s.state)) END,
       coalesce(greatest(extract(epoch FROM now() - (SELECT created_at FROM dead_letter AS o WHERE o.state = s.state
                                                      ORDER BY created_at LIMIT 1)), 0), 0)::float8
  FROM unnest(%(states)s::text[]) AS s (state)
 CROSS JOIN LATERAL (SELECT count(*) AS letters
                       FROM (SELECT FROM dead_letter AS d WHERE d.state = s.state LIMIT %(count_max)s + 1) AS few) AS c

-- name: read_heartbeats
-- A heartbeat of the future was sent before the clock was set back, and its age is unknown. It counts as old as it is far
-- from now, so it is not fresh. A part that is alive sends the next one within seconds.
SELECT part, instance, abs(extract(epoch FROM now() - at))::float8 FROM heartbeats ORDER BY part, instance
