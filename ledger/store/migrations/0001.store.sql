-- The store of one partition: the log, its head, and the tables that are written in the same transaction as the log.
-- All tables of a transaction are in this one schema. No column has a default that reads a clock or a sequence.
-- beside: yes
-- events: account.opened, account.funds_held, account.hold_released, account.credited, account.debited,
--   payment.requested, payment.gateway_attempted, payment.inquired, payment.succeeded, payment.failed, payment.parked,
--   payment.requeued, payment.contradicted, payment.resolved

-- Written once. The random id seeds the hash chain, so that no two ledgers have the same chain.
CREATE TABLE identity (
    only_row boolean NOT NULL DEFAULT true,
    ledger_id uuid NOT NULL,
    CONSTRAINT identity_pkey PRIMARY KEY (only_row),
    CONSTRAINT identity_is_one_row CHECK (only_row)
);

-- The head of the log. Locking this row is the right to append. Positions come from it, so they have no gaps and commit
-- in order. The low fillfactor lets each batch's update stay on the row's page.
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

-- The events, from which every other table can be rebuilt. Append-only: the service may only insert and select.
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

-- Accounts at some of their versions, so that a reader needs only the later events. They can be rebuilt from the
-- events.
CREATE TABLE snapshots (
    originator_id text COLLATE "C" NOT NULL,
    originator_version bigint NOT NULL,
    topic text COLLATE "C" NOT NULL,
    state bytea NOT NULL,
    CONSTRAINT snapshots_pkey PRIMARY KEY (originator_id, originator_version)
);

-- The account or payment that was made under a client's idempotency key. The fingerprint identifies the request that
-- used the key. Keys never expire.
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

-- The next gateway call of each open payment, and when it is due. A row exists from the request to the payment's end:
--   inserted with the request -> claimed (leased, attempt + 1) -> replaced with the outcome -> ... -> deleted.
-- `attempt` counts the calls begun in the series; `unknown` means that one of them may have moved the money.
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

-- Workers claim due rows, oldest first.
CREATE INDEX gateway_queue_due ON gateway_queue (due_at);

-- The writer sums up the pending deposits of an account that is not in its cache.
CREATE INDEX gateway_queue_deposits ON gateway_queue (account_id) WHERE kind = 'deposit';
