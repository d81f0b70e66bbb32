-- name: list_letters
-- Oldest first, so that new letters come after the list.
SELECT payment_id, account_id, kind, amount_minor, fee_minor, currency, position, state, error, attempts, created_at
  FROM dead_letter
 WHERE (%(state)s::text IS NULL OR state = %(state)s)
   AND (%(error)s::text IS NULL OR error = %(error)s)
   AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
   AND (%(user_id)s::bigint IS NULL OR account_id = %(user_id)s)
   AND (%(kind)s::text IS NULL OR kind = %(kind)s)
   AND (%(currency)s::text IS NULL OR currency = %(currency)s)
 ORDER BY position
 LIMIT %(limit)s

-- name: store_plan
-- The same list made again is the same list, and lives longer.
INSERT INTO bulk_decision AS b (digest, plan, made_at, made_by)
VALUES (%(digest)s, %(plan)s, %(now)s, %(by)s)
    ON CONFLICT (digest) DO UPDATE SET made_at = EXCLUDED.made_at

-- name: remove_old_plans
DELETE FROM bulk_decision WHERE made_at < %(now)s - %(lifetime)s

-- name: read_plan
SELECT plan, begun_at IS NOT NULL, why FROM bulk_decision WHERE digest = %(digest)s

-- name: begin
-- The first run sets the reason; a later one goes on with it.
UPDATE bulk_decision
   SET begun_at = coalesce(begun_at, %(now)s), begun_by = CASE WHEN begun_at IS NULL THEN %(by)s ELSE begun_by END,
       why = coalesce(why, %(why)s)
 WHERE digest = %(digest)s
RETURNING why
