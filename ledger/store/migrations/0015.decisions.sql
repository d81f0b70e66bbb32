-- Operators decide about many dead letters at once, and in pairs where the ledger asks for it.
-- beside: yes: an API before asks for no second key, and an audit by a program before finds fault with events that
--   have an approval or the gateway's answer

-- A list of what a decision about many letters would do, as an operator was shown it, by its digest. `plan` is that
-- list as JSON. The first run under the digest sets `begun_at` and the reason; a run that was interrupted goes on with
-- the same list, although the letters in it that are done have changed since.
CREATE TABLE bulk_decision (
    digest text COLLATE "C" NOT NULL,
    plan bytea NOT NULL,
    made_at timestamptz NOT NULL,
    made_by text,
    begun_at timestamptz,
    begun_by text,
    why text,
    CONSTRAINT bulk_decision_pkey PRIMARY KEY (digest),
    CONSTRAINT bulk_decision_begins_with_a_reason CHECK ((begun_at IS NULL) = (why IS NULL))
);

-- Decisions that wait for a second key, and those that had one. `request` is the decision as JSON, and `gateway_key` the
-- key whose money it is about. `recoveries` counts those of the store before it was asked for. The first answer counts:
-- `decided_by` has approved or rejected it. `result` is what became of it once it was carried out, as JSON.
CREATE TABLE approval (
    id text COLLATE "C" NOT NULL,
    action text COLLATE "C" NOT NULL,
    payment_id bigint,
    gateway_key text COLLATE "C",
    request bytea NOT NULL,
    idempotency_key text COLLATE "C",
    recoveries bigint NOT NULL,
    requested_at timestamptz NOT NULL,
    requested_by text COLLATE "C" NOT NULL,
    operator text NOT NULL,
    why text NOT NULL,
    expires_at timestamptz NOT NULL,
    decided_at timestamptz,
    decided_by text COLLATE "C",
    decided_operator text,
    decision text COLLATE "C",
    result bytea,
    CONSTRAINT approval_pkey PRIMARY KEY (id),
    CONSTRAINT approval_action CHECK (action IN ('resolve', 'adjust', 'bulk')),
    CONSTRAINT approval_decision CHECK (decision IN ('approved', 'rejected')),
    CONSTRAINT approval_is_decided_by_somebody CHECK (
        (decision IS NULL) = (decided_by IS NULL) AND (decision IS NULL) = (decided_at IS NULL)),
    CONSTRAINT approval_needs_two CHECK (decision IS DISTINCT FROM 'approved' OR decided_by <> requested_by)
);

-- Lists the newest first.
CREATE INDEX approval_newest ON approval (requested_at);

-- A request that is sent again under its key is the same request.
CREATE UNIQUE INDEX approval_once ON approval (payment_id, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- Finds those about a payment that may still be carried out.
CREATE INDEX approval_open ON approval (payment_id) WHERE result IS NULL AND decision IS DISTINCT FROM 'rejected';
