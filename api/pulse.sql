-- name: read_read_models
SELECT t.name, t.position, h.position - t.position, t.stopped_at_position, t.stopped_because
  FROM tracking AS t
 CROSS JOIN head AS h
 ORDER BY t.name

-- name: read_position
-- Whether there is a ledger to serve from; nothing is counted.
SELECT position FROM head

-- name: read_queue
-- How much waits for the gateway, and how long the first of it has been due, in seconds on the database's clock.
SELECT (SELECT position FROM head),
       (SELECT withheld FROM head),
       (SELECT count(*) FROM gateway_queue),
       coalesce(greatest(extract(epoch FROM now() - (SELECT due_at FROM gateway_queue ORDER BY due_at LIMIT 1)), 0), 0)
           ::float8

-- name: read_letters
SELECT state, count(*) FROM dead_letter GROUP BY state

-- name: read_heartbeats
SELECT part, instance, greatest(extract(epoch FROM now() - at), 0)::float8 FROM heartbeats ORDER BY part, instance
