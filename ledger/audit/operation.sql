-- name: read_states
-- The states of the gateways, and whether the log has an event of operation after a position, which the states may have
-- and a replay up to there has not. A time that the driver cannot read is read as the nearest one that it can.
SELECT gateway,
       CASE WHEN paused_at IS NOT NULL THEN greatest(least(paused_at, timestamptz '9999-12-30 UTC'),
                                                     timestamptz '0001-01-02 UTC') END, paused_why, paused_by,
       CASE WHEN opened_at IS NOT NULL THEN greatest(least(opened_at, timestamptz '9999-12-30 UTC'),
                                                     timestamptz '0001-01-02 UTC') END, opened_why, opened_by,
       EXISTS (SELECT 1 FROM events WHERE originator_id = %(stream)s AND notification_id > %(position)s)
  FROM gateway_state
