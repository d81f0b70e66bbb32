-- name: chaos_is_made
SELECT to_regclass('chaos_acts') IS NOT NULL

-- name: make_chaos_keys
-- One row for each idempotency key of a call or an inquiry. Its row lock serializes the calls, inquiries and late money
-- under the key. sealed: an inquiry was answered with not_found, and no money may move any more. due_at: the time when
-- late money moves. lying: the next inquiry is answered with not_found, and then the money moves.
CREATE TABLE IF NOT EXISTS chaos_keys (
    gateway_key text NOT NULL,
    inquiries integer NOT NULL,
    sealed boolean NOT NULL,
    lying boolean NOT NULL,
    due_at timestamptz,
    CONSTRAINT chaos_keys_pkey PRIMARY KEY (gateway_key)
)

-- name: make_chaos_keys_due
CREATE INDEX IF NOT EXISTS chaos_keys_due ON chaos_keys (due_at) WHERE due_at IS NOT NULL

-- name: make_chaos_acts
-- The act of each attempt and inquiry under a key, recorded before the answer is sent. `deed` is its effect: books of
-- earlier programs have the column under this name.
CREATE TABLE IF NOT EXISTS chaos_acts (
    gateway_key text NOT NULL,
    request text NOT NULL,
    number integer NOT NULL,
    behaviour text NOT NULL,
    deed text NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT chaos_acts_pkey PRIMARY KEY (gateway_key, request, number),
    CONSTRAINT chaos_acts_request_known CHECK (request IN ('pay', 'inquire'))
)

-- name: lock_key
-- Locks the key's row until the commit, and inserts it if it is missing, so that no other session changes the key.
INSERT INTO chaos_keys (gateway_key, inquiries, sealed, lying)
VALUES (%(gateway_key)s, %(inquiries)s, false, false)
    ON CONFLICT (gateway_key) DO UPDATE SET inquiries = chaos_keys.inquiries + EXCLUDED.inquiries
RETURNING inquiries, sealed, lying, due_at IS NOT NULL AS due, coalesce(due_at <= clock_timestamp(), false) AS overdue

-- name: find_key
SELECT gateway_key, payment_id, user_id, kind, amount, commission, attempts, decision, effect_number
  FROM calls
 WHERE gateway_key = %(gateway_key)s

-- name: settle_key
-- After a decision the key is neither due nor lying.
UPDATE chaos_keys SET due_at = NULL, lying = false WHERE gateway_key = %(gateway_key)s

-- name: approve_later
UPDATE chaos_keys SET due_at = now() + make_interval(secs => %(seconds)s), lying = false
 WHERE gateway_key = %(gateway_key)s

-- name: lie
UPDATE chaos_keys SET lying = true WHERE gateway_key = %(gateway_key)s

-- name: seal
UPDATE chaos_keys SET sealed = true WHERE gateway_key = %(gateway_key)s

-- name: record_act
INSERT INTO chaos_acts (gateway_key, request, number, behaviour, deed, at)
VALUES (%(gateway_key)s, %(request)s, %(number)s, %(behaviour)s, %(effect)s, clock_timestamp())

-- name: approve_overdue
-- Moves late money that is due. It skips keys that another session has locked: that session moves the money itself, or
-- the next round does. A decision that the demo gateway has made in the same book stays.
WITH overdue AS (
    SELECT gateway_key FROM chaos_keys
     WHERE due_at <= now()
     ORDER BY due_at
     LIMIT 100
       FOR UPDATE SKIP LOCKED),
settled AS (
    UPDATE chaos_keys SET due_at = NULL WHERE gateway_key IN (SELECT gateway_key FROM overdue)),
moved AS (
    INSERT INTO effects (gateway_key)
    SELECT gateway_key FROM overdue JOIN calls USING (gateway_key) WHERE decision IS NULL
    RETURNING gateway_key, number)
UPDATE calls AS c SET decision = 'approved', decided_at = now(), effect_number = moved.number
  FROM moved
 WHERE c.gateway_key = moved.gateway_key

-- name: next_due
-- The seconds until the next late money is due; null without late money.
SELECT extract(epoch FROM min(due_at) - clock_timestamp())::float8 FROM chaos_keys WHERE due_at IS NOT NULL

-- name: count_behaviours
SELECT request, behaviour, count(*) FROM chaos_acts GROUP BY request, behaviour

-- name: list_acts
SELECT request, number, behaviour, deed AS effect, at
  FROM chaos_acts
 WHERE gateway_key = %(gateway_key)s
 ORDER BY at
 LIMIT %(limit)s
