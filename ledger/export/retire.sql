-- name: retire
-- A second take-over by the same copy finds the row. The join to a table of the schema lets the node that owns the schema
-- run the whole statement.
INSERT INTO store_retirement (successor, position, at)
SELECT %(successor)s, %(position)s, %(at)s FROM log_head
    ON CONFLICT (only_row) DO NOTHING

-- name: refuse_commands
-- From here on every command is refused, by running processes too.
UPDATE log_head SET inactive = true

-- name: empty_queue
-- Workers that still run find nothing to call the gateway about. The successor makes its queue from the events.
DELETE FROM gateway_queue

-- name: read_successor
SELECT successor FROM store_retirement

-- name: read_digest
SELECT digest FROM events WHERE notification_id = %(position)s
