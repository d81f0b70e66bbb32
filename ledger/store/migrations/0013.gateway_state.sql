-- An outage of the gateway is one outage, and not a failure of each payment that waits.
-- beside: api, worker: the projector before stops at operation.gateway_changed. A pause and the breaker hold the
--   workers before only once they have stopped
-- events: operation.gateway_changed

-- The state of each gateway, as the events of the stream `operation` have made it: since when an operator has paused it,
-- and since when its circuit breaker is open. While the breaker is open, one payment may probe the gateway from
-- `probe_at` on. Nothing is called before `held_until`, which no event has: the gateway asked for it, or could not be
-- reached.
CREATE TABLE gateway_state (
    gateway text COLLATE "C" NOT NULL,
    paused_at timestamptz,
    paused_why text,
    paused_by text,
    opened_at timestamptz,
    opened_why text,
    opened_by text,
    probe_at timestamptz,
    held_until timestamptz,
    CONSTRAINT gateway_state_pkey PRIMARY KEY (gateway),
    CONSTRAINT gateway_state_pause_has_a_reason CHECK ((paused_at IS NULL) = (paused_why IS NULL)),
    CONSTRAINT gateway_state_opening_has_a_reason CHECK ((opened_at IS NULL) = (opened_why IS NULL)),
    CONSTRAINT gateway_state_probes_while_open CHECK ((opened_at IS NULL) = (probe_at IS NULL))
);
INSERT INTO gateway_state (gateway) VALUES ('gateway');
