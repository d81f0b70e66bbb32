-- name: read_keys
-- LATERAL with OFFSET 0 makes this one index look-up a key, also when the planner has no statistics yet.
SELECT k.scope, k.key, i.subject_kind, i.subject_id, i.fingerprint_version, i.fingerprint
  FROM unnest(%(scopes)b::text[], %(keys)b::text[]) AS k (scope, key)
 CROSS JOIN LATERAL (
           SELECT subject_kind, subject_id, fingerprint_version, fingerprint
             FROM idempotency_keys
            WHERE scope = k.scope AND key = k.key
           OFFSET 0) AS i

-- name: insert_keys
INSERT INTO idempotency_keys (scope, key, subject_kind, subject_id, fingerprint_version, fingerprint)
SELECT scope, key, subject_kind, subject_id, fingerprint_version, fingerprint
  FROM unnest(%(scopes)b::text[], %(keys)b::text[], %(subject_kinds)b::text[], %(subject_ids)b::bigint[],
              %(fingerprint_versions)b::bigint[], %(fingerprints)b::text[])
    AS k (scope, key, subject_kind, subject_id, fingerprint_version, fingerprint)

-- name: enqueue_first
-- The first calls of payments that this batch has requested: they have no rows yet, so nothing is looked for. What is not
-- given is the same for all first calls.
INSERT INTO gateway_queue (payment_id, account_id, kind, amount_minor, fee_minor, currency, series, gateway_key, attempt,
                           action, inquiries, unknown, payment_version, due_at, trace_context)
SELECT payment_id, account_id, kind, amount_minor, fee_minor, currency, 1, gateway_key, 0, 'pay', 0, false, 1, %(due_at)b,
       trace_context
  FROM unnest(%(payment_ids)b::bigint[], %(account_ids)b::bigint[], %(kinds)b::text[], %(amounts_minor)b::bigint[],
              %(fees_minor)b::bigint[], %(currencies)b::text[], %(gateway_keys)b::text[], %(trace_contexts)b::text[])
    AS q (payment_id, account_id, kind, amount_minor, fee_minor, currency, gateway_key, trace_context)

-- name: enqueue
-- A payment has one row; what is written anew gives the lease back. The trace of the first request stays with it.
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
    ON CONFLICT (payment_id) DO UPDATE
   SET series = EXCLUDED.series, gateway_key = EXCLUDED.gateway_key, attempt = EXCLUDED.attempt,
       action = EXCLUDED.action, inquiries = EXCLUDED.inquiries, unknown = EXCLUDED.unknown,
       payment_version = EXCLUDED.payment_version, due_at = EXCLUDED.due_at, leased_until = NULL, leased_by = NULL,
       trace_context = coalesce(EXCLUDED.trace_context, gateway_queue.trace_context)

-- name: dequeue
DELETE FROM gateway_queue WHERE payment_id = ANY (%(payment_ids)b::bigint[])
