-- One user's impossible event does not stop the read models of everybody, and a read model that was never filled is
-- not taken for one that was.
-- beside: api, worker: the projector before applies events of streams that are set aside

-- The streams that a group of read models has set aside because it could not apply one of their events: none of their
-- events from `position` on is applied to the group. `account_id` is the user whose stream it is. `payment-ledger
-- rebuild` takes a stream in again once its events can be applied.
CREATE TABLE projection_set_aside (
    name text COLLATE "C" NOT NULL,
    stream text COLLATE "C" NOT NULL,
    account_id bigint,
    position bigint NOT NULL,
    because text NOT NULL,
    CONSTRAINT projection_set_aside_pkey PRIMARY KEY (name, stream)
);

-- Tells readers of a user's money that a stream of theirs was set aside.
CREATE INDEX projection_set_aside_account ON projection_set_aside (account_id);

-- The read models of the group that have been filled from the first event on. Only these are moved; one that joins the
-- group later is filled by a rebuild.
ALTER TABLE projection_tracking ADD COLUMN models text[] COLLATE "C" NOT NULL DEFAULT '{}';
UPDATE projection_tracking SET models = '{payment_status,account_balance,journal,dead_letter}' WHERE name = 'read_models';
UPDATE projection_tracking SET models = '{counters}' WHERE name = 'counters';
