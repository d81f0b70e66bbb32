-- name: lock_payment
-- Only one request about a payment is stored at a time, so that two at once see each other. It ends with the transaction.
SELECT pg_advisory_xact_lock(hashtextextended('payment-ledger approval ' || %(payment_id)s, 0))

-- name: touch_by_key
-- Finds the request that was sent before under the same key. Its commit may be in doubt: this one waits for the standby,
-- and so for that one too.
UPDATE approval SET result = result WHERE payment_id = %(payment_id)s AND idempotency_key = %(idempotency_key)s
RETURNING id

-- name: touch_open
-- Finds the requests about a payment that may still be carried out, and makes them certain too.
UPDATE approval SET result = result
 WHERE payment_id = %(payment_id)s AND action = %(action)s AND result IS NULL AND decision IS DISTINCT FROM 'rejected'
RETURNING id

-- name: ask
-- `recoveries` counts the recoveries of the store so far: the stream `ledger` has one event for each.
INSERT INTO approval (id, action, payment_id, gateway_key, request, idempotency_key, recoveries, requested_at,
                      requested_by, operator, why, expires_at)
VALUES (%(id)s, %(action)s, %(payment_id)s, %(gateway_key)s, %(request)s, %(idempotency_key)s,
        (SELECT coalesce(max(originator_version), 0) FROM events WHERE originator_id = 'ledger'), %(now)s, %(by)s,
        %(operator)s, %(why)s, %(now)s + %(lifetime)s)

-- name: read
SELECT a.id, a.action, a.payment_id, a.gateway_key, a.request, a.requested_at, a.requested_by, a.operator, a.why,
       a.expires_at, a.decided_at, a.decided_by, a.decided_operator, a.decision, a.result,
       a.recoveries < (SELECT coalesce(max(originator_version), 0) FROM events WHERE originator_id = 'ledger'),
       NOT EXISTS (SELECT FROM api_key AS k
                    WHERE k.id = substr(a.requested_by, 5) AND k.revoked_at IS NULL
                      AND (k.expires_at IS NULL OR k.expires_at > %(now)s))
  FROM approval AS a
 WHERE a.id = %(id)s

-- name: page
-- The state of each needs the recoveries and the keys, as `read` has them.
SELECT a.id, a.action, a.payment_id, a.gateway_key, a.request, a.requested_at, a.requested_by, a.operator, a.why,
       a.expires_at, a.decided_at, a.decided_by, a.decided_operator, a.decision, a.result,
       a.recoveries < (SELECT coalesce(max(originator_version), 0) FROM events WHERE originator_id = 'ledger'),
       NOT EXISTS (SELECT FROM api_key AS k
                    WHERE k.id = substr(a.requested_by, 5) AND k.revoked_at IS NULL
                      AND (k.expires_at IS NULL OR k.expires_at > %(now)s))
  FROM approval AS a
 ORDER BY a.requested_at DESC, a.id
 LIMIT %(limit)s
OFFSET %(offset)s

-- name: approve
-- The first decision counts. An approval needs another key than the request, the asking key must still be live, and the
-- store must not have been recovered since. `requested_by` is `key:` and the key's id.
UPDATE approval AS a
   SET decision = 'approved', decided_at = %(now)s, decided_by = %(by)s, decided_operator = %(operator)s
 WHERE a.id = %(id)s AND a.decision IS NULL AND a.expires_at > %(now)s AND a.requested_by <> %(by)s
   AND a.recoveries >= (SELECT coalesce(max(originator_version), 0) FROM events WHERE originator_id = 'ledger')
   AND EXISTS (SELECT FROM api_key AS k
                WHERE k.id = substr(a.requested_by, 5) AND k.revoked_at IS NULL
                  AND (k.expires_at IS NULL OR k.expires_at > %(now)s))
RETURNING id

-- name: reject
-- An operator can take a request back. One that was approved, and was cut off before it was carried out, can be
-- rejected at any time.
UPDATE approval
   SET decision = 'rejected', decided_at = %(now)s, decided_by = %(by)s, decided_operator = %(operator)s
 WHERE id = %(id)s
   AND ((decision IS NULL AND expires_at > %(now)s) OR (decision = 'approved' AND result IS NULL))
RETURNING id

-- name: touch
-- The decision before this one may be in doubt: this commit waits for the standby, and so for that one too.
UPDATE approval SET result = result WHERE id = %(id)s

-- name: note_result
-- The first result stays: carrying out an approved request once more changes nothing.
UPDATE approval SET result = coalesce(result, %(result)s) WHERE id = %(id)s
