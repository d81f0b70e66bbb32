-- name: read_accounts
-- Accounts by id, and the position that the read models have reached. One query serves the accounts of many waiting
-- requests. The last column tells that these models have set a stream of the account aside, so that the row is not as
-- its events say; LIMIT makes that one index look-up an account.
SELECT account_id, currency, posted_minor, held_minor,
       (SELECT position FROM projection_tracking WHERE name = 'read_models'),
       (SELECT true FROM projection_set_aside WHERE account_id = a.account_id AND name = 'read_models' LIMIT 1)
           IS NOT NULL
  FROM account_balance AS a
 WHERE account_id = ANY(%(ids)s)

-- name: is_set_aside
SELECT (SELECT true FROM projection_set_aside WHERE account_id = %(account_id)s AND name = 'read_models' LIMIT 1)
           IS NOT NULL

-- name: last_entry_before
-- The position of the last journal entry before a time. The journal has no index by time, but its times grow with its
-- positions, so the query bisects the positions, in about thirty steps for any journal. `low` is 0 or a position whose
-- entry is before the time; all entries after position `high` are at the time or after it.
WITH RECURSIVE search (low, high) AS (
    SELECT 0::bigint, coalesce((SELECT position FROM journal_entry ORDER BY position DESC LIMIT 1), 0)
     UNION ALL
    SELECT CASE WHEN middle.at < %(at)s THEN middle.position ELSE search.low END,
           CASE WHEN middle.at < %(at)s THEN search.high ELSE (search.low + search.high + 1) / 2 - 1 END
      FROM search
     CROSS JOIN LATERAL (
               SELECT position, at
                 FROM journal_entry
                WHERE position >= (search.low + search.high + 1) / 2
                ORDER BY position
                LIMIT 1) AS middle
     WHERE search.low < search.high)
SELECT low FROM search WHERE low >= high LIMIT 1

-- name: last_entry
SELECT position FROM journal_entry ORDER BY position DESC LIMIT 1

-- name: balance_after
-- The account's balance after its last entry up to a position.
SELECT balance_after_minor
  FROM journal_posting
 WHERE account_id = %(account_id)s AND position <= %(position)s
 ORDER BY position DESC
 LIMIT 1

-- name: page_of_statement
-- Oldest first. The customer's money is our liability, so what they get is a credit. LATERAL with OFFSET 0 makes the
-- entry of each posting one index look-up, whatever the planner believes about the tables.
SELECT p.position, e.payment_id, e.at, p.amount_minor, p.balance_after_minor
  FROM (SELECT position, currency, CASE direction WHEN 'credit' THEN amount_minor ELSE -amount_minor END AS amount_minor,
               balance_after_minor
          FROM journal_posting
         WHERE account_id = %(account_id)s AND position > %(after)s AND position <= %(upto)s
         ORDER BY position
         LIMIT %(limit)s) AS p
 CROSS JOIN LATERAL (
           SELECT payment_id, at
             FROM journal_entry
            WHERE position = p.position AND currency = p.currency
           OFFSET 0) AS e
 ORDER BY p.position

-- name: read_end
-- The last position of the log, and the time that the next event would have: the database's clock, or the log's last time
-- when that clock was set back. A position after it, or a later time, has not come yet.
SELECT position, greatest(clock_timestamp(), at) FROM log_head
