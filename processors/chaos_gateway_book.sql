-- name: chaos_is_made
SELECT to_regclass('chaos_acts') IS NOT NULL

-- name: make_chaos_keys
-- One row for each idempotency key that was ever called or asked about; its lock brings calls, inquiries and late money
-- under one key into a row. sealed: not_found was said, and no money moves any more. due_at: when late money moves.
-- lying: not_found is to be said once more before the money moves.
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
-- What was done, in which attempt or inquiry of which key. Written before anything is said.
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
-- Locks the key's row until the commit, made when it is missing: what stands under the key does not change meanwhile.
INSERT INTO chaos_keys (gateway_key, inquiries, sealed, lying)
VALUES (%(gateway_key)s, %(inquiries)s, false, false)
    ON CONFLICT (gateway_key) DO UPDATE SET inquiries = chaos_keys.inquiries + EXCLUDED.inquiries
RETURNING inquiries, sealed, lying, due_at IS NOT NULL AS due, coalesce(due_at <= clock_timestamp(), false) AS overdue

-- name: find_key
SELECT gateway_key, payment_id, user_id, kind, amount, commission, attempts, decision, effect_number
  FROM calls
 WHERE gateway_key = %(gateway_key)s

-- name: settle_key
-- What is decided is no longer due, nor a lie.
UPDATE chaos_keys SET due_at = NULL, lying = false WHERE gateway_key = %(gateway_key)s

-- name: approve_later
UPDATE chaos_keys SET due_at = clock_timestamp() + make_interval(secs => %(seconds)s), lying = false
 WHERE gateway_key = %(gateway_key)s

-- name: lie
UPDATE chaos_keys SET lying = true WHERE gateway_key = %(gateway_key)s

-- name: seal
UPDATE chaos_keys SET sealed = true WHERE gateway_key = %(gateway_key)s

-- name: note_act
INSERT INTO chaos_acts (gateway_key, request, number, behaviour, deed, at)
VALUES (%(gateway_key)s, %(request)s, %(number)s, %(behaviour)s, %(deed)s, clock_timestamp())

-- name: approve_overdue
-- Moves money whose time has come. A key that somebody has locked is left to him, who sees to it himself, or to the
-- next round. What the demo gateway has decided meanwhile, serving the same book in turn, stays so.
WITH overdue AS (
    SELECT gateway_key FROM chaos_keys
     WHERE due_at <= clock_timestamp()
     ORDER BY due_at
     LIMIT 100
       FOR UPDATE SKIP LOCKED),
settled AS (
    UPDATE chaos_keys SET due_at = NULL WHERE gateway_key IN (SELECT gateway_key FROM overdue)),
moved AS (
    INSERT INTO effects (gateway_key)
    SELECT gateway_key FROM overdue JOIN calls USING (gateway_key) WHERE decision IS NULL
    RETURNING gateway_key, number)
UPDATE calls AS c SET decision = 'approved', decided_at = clock_timestamp(), effect_number = moved.number
  FROM moved
 WHERE c.gateway_key = moved.gateway_key

-- name: next_due
-- In how many seconds the next money moves; null when none is on its way.
SELECT extract(epoch FROM min(due_at) - clock_timestamp())::float8 FROM chaos_keys WHERE due_at IS NOT NULL

-- name: count_behaviours
SELECT request, behaviour, count(*) FROM chaos_acts GROUP BY request, behaviour

-- name: list_acts
SELECT request, number, behaviour, deed, at
  FROM chaos_acts
 WHERE gateway_key = %(gateway_key)s
 ORDER BY at
 LIMIT %(limit)s
