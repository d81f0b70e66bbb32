-- name: is_made
-- Checked first, so that a role that may not create tables can serve a book that another role has made.
SELECT to_regclass('effects') IS NOT NULL

-- name: lock_making
-- CREATE ... IF NOT EXISTS still fails when two sessions run it at the same time; the lock ends with the transaction.
SELECT pg_advisory_xact_lock(hashtext('demo_gateway_book'))

-- name: make_schema
CREATE SCHEMA IF NOT EXISTS {schema}

-- name: make_calls
-- One row for each idempotency key. decision: null -> approved | declined, and then it never changes.
CREATE TABLE IF NOT EXISTS calls (
    gateway_key text NOT NULL,
    payment_id bigint NOT NULL,
    user_id bigint NOT NULL,
    kind text NOT NULL,
    amount numeric NOT NULL,
    commission numeric NOT NULL,
    attempts integer NOT NULL,
    decision text,
    decided_at timestamptz,
    effect_number bigint,
    CONSTRAINT calls_pkey PRIMARY KEY (gateway_key),
    CONSTRAINT calls_kind_known CHECK (kind IN ('deposit', 'withdraw')),
    CONSTRAINT calls_decision_known CHECK (decision IN ('approved', 'declined')),
    CONSTRAINT calls_decision_dated CHECK ((decision IS NULL) = (decided_at IS NULL)),
    CONSTRAINT calls_approved_has_effect
        CHECK ((decision IS NOT DISTINCT FROM 'approved') = (effect_number IS NOT NULL))
)

-- name: make_effects
-- The money that moved. The unique key is the gateway's main guarantee: at most one effect for each key. Effects are
-- numbered when they are written and visible when they are committed, so a list is complete only while no call runs.
CREATE TABLE IF NOT EXISTS effects (
    number bigint GENERATED ALWAYS AS IDENTITY,
    gateway_key text NOT NULL,
    CONSTRAINT effects_pkey PRIMARY KEY (number),
    CONSTRAINT effects_once_for_each_key UNIQUE (gateway_key),
    CONSTRAINT effects_of_a_call FOREIGN KEY (gateway_key) REFERENCES calls (gateway_key)
)

-- name: count_attempt
-- Inserts the call at its first attempt, and locks its row until the commit: attempts under one key run one after the
-- other, and each sees the decision of the one before. Returns the stored row, not the values that were sent now.
INSERT INTO calls (gateway_key, payment_id, user_id, kind, amount, commission, attempts)
VALUES (%(gateway_key)s, %(payment_id)s, %(user_id)s, %(kind)s, %(amount)s, %(commission)s, 1)
    ON CONFLICT (gateway_key) DO UPDATE SET attempts = calls.attempts + 1
RETURNING gateway_key, payment_id, user_id, kind, amount, commission, attempts, decision, effect_number

-- name: approve
-- Moves the money. Only a call without a decision can be decided.
WITH moved AS (INSERT INTO effects (gateway_key) VALUES (%(gateway_key)s) RETURNING number)
UPDATE calls SET decision = 'approved', decided_at = now(), effect_number = moved.number
  FROM moved
 WHERE gateway_key = %(gateway_key)s AND decision IS NULL
RETURNING effect_number

-- name: decline
UPDATE calls SET decision = 'declined', decided_at = now()
 WHERE gateway_key = %(gateway_key)s AND decision IS NULL

-- name: find_call
SELECT gateway_key, payment_id, user_id, kind, amount, commission, attempts, decision, effect_number
  FROM calls
 WHERE gateway_key = %(gateway_key)s AND payment_id = %(payment_id)s

-- name: list_effects
SELECT number, gateway_key, payment_id, user_id, kind, amount, commission, decided_at AS at
  FROM effects JOIN calls USING (gateway_key)
 WHERE number > %(after)s
 ORDER BY number
 LIMIT %(limit)s
