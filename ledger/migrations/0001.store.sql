-- The store of one partition: the log, its end, and what is written in the same transaction with it.
-- Everything a transaction touches lies in this one schema; nothing here has a default that reads a clock or a sequence.

-- Written once. The random id seeds the chain of seals, so that no two ledgers have the same.
CREATE TABLE identity (
    only_row boolean NOT NULL DEFAULT true,
    ledger_id uuid NOT NULL,
    CONSTRAINT identity_pkey PRIMARY KEY (only_row),
    CONSTRAINT identity_is_one_row CHECK (only_row)
);

-- The log's end. Locking this row is the right to append, and positions come from it, so they have no gaps and commit
-- in order. Half-empty pages let each batch's update stay on its page.
CREATE TABLE head (
    only_row boolean NOT NULL DEFAULT true,
    position bigint NOT NULL,
    digest bytea NOT NULL,
    at timestamptz NOT NULL,
    next_account_id bigint NOT NULL,
    next_payment_sequence bigint NOT NULL,
    CONSTRAINT head_pkey PRIMARY KEY (only_row),
    CONSTRAINT head_is_one_row CHECK (only_row),
    CONSTRAINT head_position_counts CHECK (position >= 0),
    CONSTRAINT head_counters_count CHECK (next_account_id >= 1 AND next_payment_sequence >= 0)
) WITH (fillfactor = 10, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

-- The truth. Append-only: the service may insert and select here and nothing more.
CREATE TABLE events (
    originator_id text COLLATE "C" NOT NULL,
    originator_version bigint NOT NULL,
    topic text COLLATE "C" NOT NULL,
    state bytea NOT NULL,
    notification_id bigint NOT NULL,
    digest bytea NOT NULL,
    CONSTRAINT events_pkey PRIMARY KEY (originator_id, originator_version),
    CONSTRAINT events_position_key UNIQUE (notification_id)
) WITH (autovacuum_vacuum_insert_threshold = 100000);

-- Accounts at some of their versions: a shortcut for reading, made from the events and replaceable by them.
CREATE TABLE snapshots (
    originator_id text COLLATE "C" NOT NULL,
    originator_version bigint NOT NULL,
    topic text COLLATE "C" NOT NULL,
    state bytea NOT NULL,
    CONSTRAINT snapshots_pkey PRIMARY KEY (originator_id, originator_version)
);

-- What was made under a client's key. The fingerprint is the request; keys never expire.
CREATE TABLE idempotency_keys (
    scope text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    subject_kind text COLLATE "C" NOT NULL,
    subject_id bigint NOT NULL,
    fingerprint_version smallint NOT NULL,
    fingerprint text COLLATE "C" NOT NULL,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (scope, key),
    CONSTRAINT idempotency_keys_subject_kind CHECK (subject_kind IN ('account', 'payment'))
);

-- What the gateway is to be asked, and from when on. A row lives from the request to the end of its payment:
--   written with the request -> claimed (leased, attempt + 1) -> written anew with the outcome -> ... -> deleted.
-- attempt counts the calls begun in the series; unknown says that one of them may have moved the money.
CREATE TABLE gateway_queue (
    payment_id bigint NOT NULL,
    account_id bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    amount_minor bigint NOT NULL,
    fee_minor bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    series integer NOT NULL,
    gateway_key text COLLATE "C" NOT NULL,
    attempt integer NOT NULL,
    action text COLLATE "C" NOT NULL,
    inquiries integer NOT NULL,
    unknown boolean NOT NULL,
    payment_version bigint NOT NULL,
    due_at timestamptz NOT NULL,
    leased_until timestamptz,
    leased_by text,
    trace_context text,
    CONSTRAINT gateway_queue_pkey PRIMARY KEY (payment_id),
    CONSTRAINT gateway_queue_kind CHECK (kind IN ('deposit', 'withdraw')),
    CONSTRAINT gateway_queue_action CHECK (action IN ('pay', 'inquire')),
    CONSTRAINT gateway_queue_amount CHECK (amount_minor > 0 AND fee_minor BETWEEN 0 AND amount_minor),
    CONSTRAINT gateway_queue_lease CHECK ((leased_until IS NULL) = (leased_by IS NULL))
) WITH (fillfactor = 70, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.05);

-- Workers look for what is due, oldest first.
CREATE INDEX gateway_queue_due ON gateway_queue (due_at);

-- The writer sums up the deposits on their way to an account that it does not know yet.
CREATE INDEX gateway_queue_deposits ON gateway_queue (account_id) WHERE kind = 'deposit';
