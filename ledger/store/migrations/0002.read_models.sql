-- The read models, which clients query. The projector makes them from the log and can rebuild them.
-- beside: yes

-- For each group of read models: its position in the log, the projector that leads it, and the error that stopped it.
-- The lease keeps projectors from doing the same work twice. The position moves by compare-and-set in the transaction
-- that changes the read models, which keeps them correct when two projectors believe that they lead.
CREATE TABLE tracking (
    name text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    leader text,
    leader_until timestamptz,
    stopped_at_position bigint,
    stopped_because text,
    updated_at timestamptz NOT NULL,
    CONSTRAINT tracking_pkey PRIMARY KEY (name),
    CONSTRAINT tracking_position_counts CHECK (position >= 0)
) WITH (fillfactor = 10, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

-- A payment as its client sees it. `state` is the ledger's word and `status` the client's. `ended_by`, `contradicted`
-- and `closed` come from the events; together with `state` they decide whether the payment needs an operator.
CREATE TABLE payment_status (
    payment_id bigint NOT NULL,
    account_id bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    amount_minor bigint NOT NULL,
    fee_minor bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    attempts integer NOT NULL,
    last_error text,
    next_retry_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    position bigint NOT NULL,
    ended_by text COLLATE "C",
    contradicted boolean NOT NULL DEFAULT false,
    closed boolean NOT NULL DEFAULT false,
    CONSTRAINT payment_status_pkey PRIMARY KEY (payment_id),
    CONSTRAINT payment_status_state CHECK (state IN ('new', 'processing', 'in_doubt', 'succeeded', 'failed')),
    CONSTRAINT payment_status_status CHECK (status IN ('new', 'processing', 'success', 'failed'))
) WITH (fillfactor = 80);

-- Lists a user's payments, newest first: within one account, payment ids grow with time.
CREATE INDEX payment_status_of_account ON payment_status (account_id, payment_id);

-- Finds the few pending or failed payments among the many that succeeded.
CREATE INDEX payment_status_not_succeeded ON payment_status (account_id, status, payment_id) WHERE status <> 'success';

-- An account's balance. Of posted_minor, held_minor is set aside for withdrawals.
CREATE TABLE account_balance (
    account_id bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    posted_minor bigint NOT NULL,
    held_minor bigint NOT NULL,
    version bigint NOT NULL,
    opened_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    position bigint NOT NULL,
    CONSTRAINT account_balance_pkey PRIMARY KEY (account_id),
    CONSTRAINT account_balance_covered CHECK (held_minor BETWEEN 0 AND posted_minor),
    CONSTRAINT account_balance_limit CHECK (posted_minor <= 9007199254740991)
) WITH (fillfactor = 70);

-- Double entry: each row is one balanced entry with its postings in columns. Debits are positive, credits negative.
-- A user's money is our liability, so money paid in to the user is a credit. balance_after_minor is the user's balance
-- after the entry.
CREATE TABLE journal (
    position bigint NOT NULL,
    account_id bigint NOT NULL,
    payment_id bigint,
    currency text COLLATE "C" NOT NULL,
    customer_minor bigint NOT NULL,
    gateway_clearing_minor bigint NOT NULL,
    fee_revenue_minor bigint NOT NULL,
    opening_equity_minor bigint NOT NULL,
    balance_after_minor bigint NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT journal_pkey PRIMARY KEY (position),
    CONSTRAINT journal_balanced CHECK (
        customer_minor + gateway_clearing_minor + fee_revenue_minor + opening_equity_minor = 0
    ),
    CONSTRAINT journal_never_overdrawn CHECK (balance_after_minor >= 0)
);

-- Lists an account's statement in order.
CREATE UNIQUE INDEX journal_of_account ON journal (account_id, position);

-- The dead letters: payments that need an operator, one row each, deleted once the operator has dealt with it.
-- `position` is the position of the event that put the letter in its state (the failure, the parking, the
-- contradiction, or the end of a contradicted payment) and serves as its id. `created_at` is the time of that event.
CREATE TABLE dead_letter (
    payment_id bigint NOT NULL,
    position bigint NOT NULL,
    account_id bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    amount_minor bigint NOT NULL,
    fee_minor bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    error text NOT NULL,
    attempts integer NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT dead_letter_pkey PRIMARY KEY (payment_id),
    CONSTRAINT dead_letter_state CHECK (state IN ('failed', 'in_doubt', 'reconcile'))
);

-- Lists dead letters, newest first.
CREATE INDEX dead_letter_newest ON dead_letter (position);

-- Totals for the metrics, counted from the events.
CREATE TABLE counters (
    name text COLLATE "C" NOT NULL,
    value bigint NOT NULL,
    CONSTRAINT counters_pkey PRIMARY KEY (name)
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

-- The running instances of the service's parts, each with the time of its last heartbeat.
CREATE TABLE heartbeats (
    part text COLLATE "C" NOT NULL,
    instance text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT heartbeats_pkey PRIMARY KEY (part, instance)
) WITH (fillfactor = 50);
