-- name: read_accounts
-- The rows that a page will change. LATERAL with OFFSET 0 makes this one index look-up an account, whatever the planner
-- believes about the table.
SELECT a.account_id, a.currency, a.posted_minor, a.held_minor, a.version, a.opened_at, a.updated_at, a.position
  FROM unnest(%(ids)b::bigint[]) AS k (account_id)
 CROSS JOIN LATERAL (
           SELECT account_id, currency, posted_minor, held_minor, version, opened_at, updated_at, position
             FROM {account_balance}
            WHERE account_id = k.account_id
           OFFSET 0) AS a

-- name: store_accounts
-- New and changed rows in one statement: the conflict is found by the primary key, so no join can turn
-- into a scan. Currency and opening never change.
INSERT INTO {account_balance} (account_id, currency, posted_minor, held_minor, version, opened_at, updated_at, position)
SELECT account_id, currency, posted_minor, held_minor, version, opened_at, updated_at, position
  FROM unnest(%(account_id)b::bigint[], %(currency)b::text[], %(posted_minor)b::bigint[], %(held_minor)b::bigint[],
              %(version)b::bigint[], %(opened_at)b::timestamptz[], %(updated_at)b::timestamptz[],
              %(position)b::bigint[])
    AS r (account_id, currency, posted_minor, held_minor, version, opened_at, updated_at, position)
 CROSS JOIN (SELECT count(*) FROM ledger_identity) AS here
    ON CONFLICT (account_id) DO UPDATE
   SET posted_minor = EXCLUDED.posted_minor, held_minor = EXCLUDED.held_minor, version = EXCLUDED.version,
       updated_at = EXCLUDED.updated_at, position = EXCLUDED.position
