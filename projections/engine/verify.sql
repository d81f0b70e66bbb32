-- name: read_tracking
-- Each group's standing, and its columns out of their bounds; times are compared here, because a driver cannot read all
-- times that a column can hold.
SELECT t.name, t.position, h.position, t.models, t.stopped_at_position, t.stopped_because,
       t.leader_until NOT BETWEEN %(first_time)s AND clock_timestamp() + %(clocks_apart_max)s,
       left(t.leader_until::text, 100),
       t.updated_at NOT BETWEEN %(first_time)s AND clock_timestamp() + %(clocks_apart_max)s,
       left(t.updated_at::text, 100),
       length(t.leader) NOT BETWEEN 1 AND %(name_max)s
  FROM projection_tracking AS t
 CROSS JOIN log_head AS h
 ORDER BY t.name
