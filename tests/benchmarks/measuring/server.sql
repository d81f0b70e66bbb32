-- name: checkpoint
CHECKPOINT

-- name: create_database
CREATE DATABASE {}

-- name: drop_database
-- FORCE ends the sessions of the scenario that is over.
DROP DATABASE {} WITH (FORCE)
