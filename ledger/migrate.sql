-- name: grants
-- What the service's role may do. The log, its keys and its snapshots only grow. It moves the head, and cannot say
-- whether the store is withheld; an earlier version of this gave it all columns.
GRANT USAGE ON SCHEMA {schema} TO {role};
GRANT SELECT ON identity TO {role};
REVOKE UPDATE ON head FROM {role};
GRANT SELECT, UPDATE (position, digest, at, next_account_id, next_payment_sequence) ON head TO {role};
GRANT SELECT, INSERT ON events, snapshots, idempotency_keys TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE ON gateway_queue TO {role};
GRANT SELECT, UPDATE ON tracking TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE
   ON payment_status, account_balance, journal, dead_letter, counters, heartbeats TO {role};

-- name: create_role
CREATE ROLE {role} NOLOGIN;

-- name: join_role
-- Whoever connects has to be able to take the role up; since Postgres 16 making a role does not give that by itself.
GRANT {role} TO CURRENT_USER;

-- name: role_exists
SELECT 1 FROM pg_roles WHERE rolname = %(role)s

-- name: may_take_role
SELECT pg_has_role(current_user, %(role)s, 'SET')

-- name: lock
-- Several processes may start at once: one migrates, the others wait here and then find nothing to do. The lock goes
-- with the session, so a killed migration leaves none behind.
SELECT pg_advisory_lock(hashtextextended('payment-ledger migrate ' || %(schema)s, 0))

-- name: create_schema
CREATE SCHEMA IF NOT EXISTS {schema}

-- name: schema_exists
SELECT 1 FROM pg_namespace WHERE nspname = %(schema)s

-- name: begin_ledger
-- Once in a ledger's life: its random id, and the head before position 1.
WITH new_identity AS (
    INSERT INTO identity (ledger_id) VALUES (%(ledger_id)s) ON CONFLICT DO NOTHING RETURNING ledger_id)
INSERT INTO head (position, digest, at, next_account_id, next_payment_sequence)
SELECT 0, %(digest)s, clock_timestamp(), 1, 0 FROM new_identity

-- name: begin_tracking
INSERT INTO tracking (name, position, updated_at)
VALUES ('read_models', 0, clock_timestamp()), ('counters', 0, clock_timestamp())
ON CONFLICT DO NOTHING

-- name: read_applied
SELECT migration_id FROM _yoyo_migration

-- name: read_ledger_id
SELECT ledger_id FROM identity
