-- name: checkpoint
CHECKPOINT

-- name: create_database
CREATE DATABASE {}

-- name: drop_database
-- Whoever is still connected was a part of the scenario that is over.
DROP DATABASE {} WITH (FORCE)
