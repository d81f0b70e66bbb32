-- A store that was restored, or is on a promoted standby, may have lost its last commits. It can tell that only from the
-- server, which it therefore notes.
-- beside: api, worker: the projector before stops at ledger.recovered
-- events: ledger.recovered

-- The server and timeline on which the store was last written. A store on another one needs a recovery.
CREATE TABLE store_origin (
    only_row boolean NOT NULL DEFAULT true,
    server text NOT NULL,
    CONSTRAINT store_origin_pkey PRIMARY KEY (only_row),
    CONSTRAINT store_origin_is_one_row CHECK (only_row)
);
