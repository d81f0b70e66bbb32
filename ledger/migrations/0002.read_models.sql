-- What clients read, made from the log by the projector and replaceable by it.
-- depends: 0001.store

-- How far each group of read models has come, who applies events to it, and what stopped it.
-- The lease keeps projectors from doing the same work twice; the position, moved by compare-and-set with the rows that
-- it stands for, keeps them correct when two believe that they lead.
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

-- A payment as its client sees it. state is the ledger's word, status the client's. ended_by, contradicted and closed
-- are what the events say, and tell together with state whether an operator has to look at the payment.
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

-- A user's payments, newest first: payment ids of one account grow with time.
CREATE INDEX payment_status_of_account ON payment_status (account_id, payment_id);

-- The few that are under way or failed, among the many that succeeded.
CREATE INDEX payment_status_not_succeeded ON payment_status (account_id, status, payment_id) WHERE status <> 'success';

-- What an account holds. held_minor of posted_minor is set aside for withdrawals.
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

-- Double entry: one balanced entry a row, its postings in columns; debits are positive, credits negative.
-- A user's money is a liability of ours, so what he gets is a credit. balance_after_minor is what the user then owns.
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

-- An account's statement, in order.
CREATE UNIQUE INDEX journal_of_account ON journal (account_id, position);

-- What an operator has to look at: one row a letter, gone when it is dealt with. position is that of the event that made
-- it a letter in this state (the failure, the parking, the contradiction, or the end that a contradicted payment came
-- to), and serves as its id; created_at is when that was.
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

-- Newest first.
CREATE INDEX dead_letter_newest ON dead_letter (position);

-- How often what has happened, counted from the events.
CREATE TABLE counters (
    name text COLLATE "C" NOT NULL,
    value bigint NOT NULL,
    CONSTRAINT counters_pkey PRIMARY KEY (name)
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

-- The parts of the service that run, and when each last said so.
CREATE TABLE heartbeats (
    part text COLLATE "C" NOT NULL,
    instance text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT heartbeats_pkey PRIMARY KEY (part, instance)
) WITH (fillfactor = 50);
