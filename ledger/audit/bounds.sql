-- name: queue_out_of_bounds
-- The columns of the gateway queue that no event tells, where they are out of their bounds; times are compared here,
-- because a driver cannot read all times that a column can hold.
SELECT q.payment_id, c.name, left(c.value, 100)
  FROM gateway_queue AS q
 CROSS JOIN LATERAL (
           VALUES ('due_at', q.due_at::text,
                   q.due_at NOT BETWEEN %(first_time)s AND clock_timestamp() + %(delay_max)s),
                  ('leased_until', q.leased_until::text,
                   q.leased_until NOT BETWEEN %(first_time)s AND clock_timestamp() + %(lease_max)s),
                  ('leased_by', q.leased_by, length(q.leased_by) NOT BETWEEN 1 AND %(name_max)s),
                  ('inquiries', q.inquiries::text, q.inquiries NOT BETWEEN 0 AND %(inquiries_max)s),
                  ('trace_context', q.trace_context, length(q.trace_context) NOT BETWEEN 1 AND %(text_max)s))
       AS c (name, value, is_out)
 WHERE c.is_out
 ORDER BY q.payment_id, c.name

-- name: head_ahead
-- The head's time, where the clock has not come to it: until then every event gets this time.
SELECT at::text FROM log_head WHERE at > clock_timestamp() + %(clocks_apart_max)s

-- name: gateways_out_of_bounds
-- The times of gateways that no event tells: until when nothing is called, and when the next probe is made.
SELECT g.gateway, c.name, c.value
  FROM gateway_state AS g
 CROSS JOIN LATERAL (
           VALUES ('held_until', g.held_until::text,
                   g.held_until NOT BETWEEN %(first_time)s AND clock_timestamp() + %(delay_max)s),
                  ('probe_at', g.probe_at::text,
                   g.probe_at NOT BETWEEN %(first_time)s AND clock_timestamp() + %(delay_max)s))
       AS c (name, value, is_out)
 WHERE c.is_out
 ORDER BY g.gateway, c.name

-- name: heartbeats_out_of_bounds
SELECT left(part, 100), left(instance, 100), at::text
  FROM heartbeats
 WHERE part <> ALL (%(parts)s::text[]) OR length(instance) NOT BETWEEN 1 AND %(name_max)s
    OR at NOT BETWEEN %(first_time)s AND clock_timestamp() + %(clocks_apart_max)s
 ORDER BY part, instance
