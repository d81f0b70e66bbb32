-- The metrics tell the ends of payments by kind and currency. In a ledger that has events, `payment-ledger rebuild` counts
-- the earlier ones.
-- beside: api, worker: the projector before moves the group and does not fill this table

-- How many payments have succeeded and failed, by kind and currency.
CREATE TABLE payment_end (
    kind text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    ended text COLLATE "C" NOT NULL,
    payments bigint NOT NULL,
    CONSTRAINT payment_end_pkey PRIMARY KEY (kind, currency, ended)
);
