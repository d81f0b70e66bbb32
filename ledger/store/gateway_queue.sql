-- name: enqueue_first
-- The first entries of payments that this batch has requested. These payments have no rows yet, so the statement needs
-- no ON CONFLICT. The columns that are constants here are equal for all first calls.
INSERT INTO gateway_queue (payment_id, account_id, kind, amount_minor, fee_minor, currency, series, gateway_key, attempt,
                           action, inquiries, unknown, payment_version, due_at, trace_context)
SELECT payment_id, account_id, kind, amount_minor, fee_minor, currency, 1, gateway_key, 0, 'pay', 0, false, 1, %(due_at)b,
       trace_context
  FROM unnest(%(payment_ids)b::bigint[], %(account_ids)b::bigint[], %(kinds)b::text[], %(amounts_minor)b::bigint[],
              %(fees_minor)b::bigint[], %(currencies)b::text[], %(gateway_keys)b::text[], %(trace_contexts)b::text[])
    AS q (payment_id, account_id, kind, amount_minor, fee_minor, currency, gateway_key, trace_context)
 CROSS JOIN (SELECT count(*) FROM ledger_identity) AS here

-- name: enqueue
-- A payment has one row. Replacing the row releases its lease and keeps the trace context of the first request.
INSERT INTO gateway_queue (payment_id, account_id, kind, amount_minor, fee_minor, currency, series, gateway_key, attempt,
                           action, inquiries, unknown, payment_version, due_at, trace_context)
SELECT payment_id, account_id, kind, amount_minor, fee_minor, currency, series, gateway_key, attempt,
       action, inquiries, unknown, payment_version, due_at, trace_context
  FROM unnest(%(payment_ids)b::bigint[], %(account_ids)b::bigint[], %(kinds)b::text[], %(amounts_minor)b::bigint[],
              %(fees_minor)b::bigint[], %(currencies)b::text[], %(series)b::bigint[], %(gateway_keys)b::text[],
              %(attempts)b::bigint[], %(actions)b::text[], %(inquiries)b::bigint[], %(unknown)b::boolean[],
              %(payment_versions)b::bigint[], %(due_at)b::timestamptz[], %(trace_contexts)b::text[])
    AS q (payment_id, account_id, kind, amount_minor, fee_minor, currency, series, gateway_key, attempt,
          action, inquiries, unknown, payment_version, due_at, trace_context)
 CROSS JOIN (SELECT count(*) FROM ledger_identity) AS here
    ON CONFLICT (payment_id) DO UPDATE
   SET series = EXCLUDED.series, gateway_key = EXCLUDED.gateway_key, attempt = EXCLUDED.attempt,
       action = EXCLUDED.action, inquiries = EXCLUDED.inquiries, unknown = EXCLUDED.unknown,
       payment_version = EXCLUDED.payment_version, due_at = EXCLUDED.due_at, leased_until = NULL, leased_by = NULL,
       trace_context = coalesce(EXCLUDED.trace_context, gateway_queue.trace_context)

-- name: dequeue
DELETE FROM gateway_queue WHERE payment_id = ANY (%(payment_ids)b::bigint[])
