-- name: count_payments
-- The head counts every payment that was ever requested.
SELECT next_payment_sequence FROM head

-- name: count_unsettled
-- What waits for the gateway, and the events that the read models have not seen yet.
SELECT (SELECT count(*) FROM gateway_queue) + (SELECT position FROM head) - (SELECT min(position) FROM tracking)

-- name: count_visible_successes
SELECT count(*) FROM payment_status WHERE status = 'success'

-- name: sum_successes
-- From the events, which are the truth, and not from what was made of them.
SELECT count(*), coalesce(sum((data->>'amount_minor')::bigint) FILTER (WHERE data->>'kind' = 'deposit'), 0)::bigint,
       coalesce(sum((data->>'amount_minor')::bigint) FILTER (WHERE data->>'kind' = 'withdraw'), 0)::bigint,
       coalesce(sum((data->>'fee_minor')::bigint), 0)::bigint
  FROM events
 CROSS JOIN LATERAL (SELECT convert_from(state, 'UTF8')::jsonb->'data' AS data) AS e
 WHERE topic = 'payment.succeeded'
