-- name: count_payments
-- The head counts every payment that was ever requested.
SELECT next_payment_sequence FROM log_head

-- name: count_unsettled
-- The payments on their way, and the events that the read models have not applied yet. Late inquiries are about payments
-- that have ended.
SELECT (SELECT count(*) FROM gateway_queue WHERE action <> 'inquire_late')
       + (SELECT position FROM log_head) - (SELECT min(position) FROM projection_tracking)

-- name: count_visible_successes
SELECT count(*) FROM payment_status WHERE status = 'success'

-- name: sum_successes
-- From the events, and not from the read models.
SELECT count(*), coalesce(sum((data->>'amount_minor')::bigint) FILTER (WHERE data->>'kind' = 'deposit'), 0)::bigint,
       coalesce(sum((data->>'amount_minor')::bigint) FILTER (WHERE data->>'kind' = 'withdraw'), 0)::bigint,
       coalesce(sum((data->>'fee_minor')::bigint), 0)::bigint
  FROM events
 CROSS JOIN LATERAL (SELECT convert_from(state, 'UTF8')::jsonb->'data' AS data) AS e
 WHERE topic = 'payment.succeeded'
