-- name: grants
-- The privileges of the service's role. It may only insert events, keys and snapshots. It may move the head and may not
-- change `inactive`; the REVOKE is for stores of an earlier program, which granted UPDATE on all columns. It may end a
-- key and give it another secret, and may not give it another scope or user. It may answer a request for an approval,
-- and may not change the request.
GRANT USAGE ON SCHEMA {schema} TO {role};
GRANT SELECT ON ledger_identity, store_retirement TO {role};
REVOKE UPDATE ON log_head FROM {role};
GRANT SELECT, UPDATE (position, digest, at, next_account_id, next_payment_sequence) ON log_head TO {role};
GRANT SELECT, INSERT ON events, snapshots, idempotency_keys TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE ON gateway_queue TO {role};
GRANT SELECT, INSERT, UPDATE ON store_origin TO {role};
GRANT SELECT, UPDATE ON gateway_state TO {role};
GRANT SELECT, INSERT, UPDATE (digest, former_digest, former_until, revoked_at, revoked_by, last_used_at) ON api_key
   TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE ON bulk_decision TO {role};
GRANT SELECT, INSERT, UPDATE (decided_at, decided_by, decided_operator, decision, result) ON approval TO {role};
GRANT SELECT, UPDATE ON projection_tracking TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE ON heartbeats TO {role};

-- name: grants_on_follower
-- What is made from the log may be made again, so the service may do with its rows whatever it has to.
GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {role}

-- name: create_role
-- The nodes of a database of several nodes log in to each other as the role that runs a statement. It has no password,
-- so on a server that asks for one nobody else can.
CREATE ROLE {role} LOGIN;

-- name: join_role
-- The connecting user must be allowed to SET ROLE. Since Postgres 16, creating a role does not grant that by itself.
GRANT {role} TO CURRENT_USER;

-- name: let_role_log_in
ALTER ROLE {role} LOGIN;

-- name: keep_setting
-- Start-up options of a session do not reach the other nodes; settings of the role in the database do.
ALTER ROLE {role} IN DATABASE {database} SET {name} TO {value};

-- name: read_role
SELECT rolcanlogin,
       coalesce((SELECT setconfig
                   FROM pg_db_role_setting AS s
                   JOIN pg_database AS d ON d.oid = s.setdatabase
                  WHERE s.setrole = r.oid AND d.datname = current_database()), '{{}}')
  FROM pg_roles AS r
 WHERE rolname = %(role)s

-- name: read_database
SELECT current_database()

-- name: read_durability
SELECT name, setting
  FROM (VALUES ('fsync', current_setting('fsync')), ('full_page_writes', current_setting('full_page_writes')),
               ('synchronous_commit', current_setting('synchronous_commit'))) AS s (name, setting)
 WHERE setting = 'off'

-- name: role_exists
SELECT 1 FROM pg_roles WHERE rolname = %(role)s

-- name: may_take_role
SELECT pg_has_role(current_user, %(role)s, 'SET')

-- name: lock
-- Several processes may start at once: one migrates, the others wait here and then find nothing to do. The lock ends
-- with the transaction, so a killed migration leaves no lock.
SELECT pg_advisory_xact_lock(hashtextextended('payment-ledger migrate ' || %(schema)s, 0))

-- name: create_schema
CREATE SCHEMA IF NOT EXISTS {schema}

-- name: schema_exists
SELECT 1 FROM pg_namespace WHERE nspname = %(schema)s

-- name: begin_ledger
-- Inserts the store's random id and the head before position 1, once for each store.
WITH new_identity AS (
    INSERT INTO ledger_identity (ledger_id) VALUES (%(ledger_id)s) ON CONFLICT DO NOTHING RETURNING ledger_id)
INSERT INTO log_head (position, digest, at, next_account_id, next_payment_sequence)
SELECT 0, %(digest)s, clock_timestamp(), %(first_account_id)s, 0 FROM new_identity

-- name: name_partition
-- For a store that has just begun.
UPDATE ledger_identity SET partition = %(partition)s, partitions = %(partitions)s, group_id = %(group_id)s

-- name: begin_tracking
-- A group that has applied nothing yet will fill all of its models. `models` of a group that has begun stays.
INSERT INTO projection_tracking AS t (name, position, models, updated_at)
VALUES (%(name)s, 0, %(models)s, clock_timestamp())
    ON CONFLICT (name) DO UPDATE SET models = EXCLUDED.models WHERE t.position = 0

-- name: has_list
SELECT to_regclass('schema_migrations') IS NOT NULL

-- name: make_list
-- The migrations that this schema has. The transaction that applies a migration inserts its row. `beside` says which
-- parts of an older program may run on the store after it.
CREATE TABLE schema_migrations (
    id text COLLATE "C" NOT NULL,
    applied_at timestamptz NOT NULL,
    beside text,
    CONSTRAINT schema_migrations_pkey PRIMARY KEY (id)
)

-- name: list_has_words
SELECT EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass('schema_migrations') AND attname = 'beside')

-- name: add_words
ALTER TABLE schema_migrations ADD COLUMN beside text

-- name: note_words
UPDATE schema_migrations SET beside = %(beside)s WHERE id = %(id)s

-- name: read_applied
-- An older program made the table without `beside`.
SELECT id, to_jsonb(m) ->> 'beside' FROM schema_migrations AS m

-- name: mark_applied
INSERT INTO schema_migrations (id, applied_at, beside) VALUES (%(id)s, clock_timestamp(), %(beside)s)

-- name: has_heartbeats
SELECT to_regclass('heartbeats') IS NOT NULL

-- name: read_alive
-- A heartbeat of the future was sent before the clock was set back. A part that is alive sends the next one in a moment.
SELECT part, instance
  FROM heartbeats
 WHERE at BETWEEN now() - %(fresh)s AND clock_timestamp() + %(fresh)s
 ORDER BY part, instance

-- name: read_former_applied
-- For a schema without the list: which migrations before 0005 it has, judged by a table or column that each of them
-- made.
SELECT m.id, NULL
  FROM (VALUES ('0001.store', to_regclass('head') IS NOT NULL),
               ('0002.read_models', to_regclass('tracking') IS NOT NULL),
               ('0003.contradictions',
                EXISTS (SELECT 1 FROM pg_attribute
                         WHERE attrelid = to_regclass('payment_status') AND attname = 'contradictions')),
               ('0004.withheld',
                EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass('head') AND attname = 'withheld')))
       AS m (id, is_there)
 WHERE m.is_there

-- name: drop_former_list
DROP TABLE IF EXISTS _yoyo_migration

-- name: drop_former_log
DROP TABLE IF EXISTS _yoyo_log

-- name: drop_former_version
DROP TABLE IF EXISTS _yoyo_version

-- name: drop_former_lock
DROP TABLE IF EXISTS yoyo_lock

-- name: read_identity
-- A store that an earlier program made has no columns for partitions.
SELECT ledger_id, (kept ->> 'partition')::integer, (kept ->> 'partitions')::integer, (kept ->> 'group_id')::uuid
  FROM ledger_identity AS i, to_jsonb(i) AS kept

-- name: has_begun
SELECT EXISTS (SELECT 1 FROM events)

-- name: has_identity
SELECT to_regclass('ledger_identity') IS NOT NULL

-- name: read_ledger_id
SELECT ledger_id FROM ledger_identity
