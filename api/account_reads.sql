-- name: read_accounts
-- Accounts by id, for many readers at once.
SELECT account_id, currency, posted_minor, held_minor
  FROM account_balance
 WHERE account_id = ANY(%(ids)s)

-- name: last_entry_before
-- The last entry of the journal before a time. The journal has no index by time, but its times grow with its positions:
-- halve the range of positions where the border must lie until it is found, some thirty steps for any journal.
-- low is a position known to lie before the time (or 0), and all entries behind high lie at it or after it.
WITH RECURSIVE search (low, high) AS (
    SELECT 0::bigint, coalesce((SELECT position FROM journal ORDER BY position DESC LIMIT 1), 0)
     UNION ALL
    SELECT CASE WHEN middle.at < %(at)s THEN middle.position ELSE search.low END,
           CASE WHEN middle.at < %(at)s THEN search.high ELSE (search.low + search.high + 1) / 2 - 1 END
      FROM search
     CROSS JOIN LATERAL (
               SELECT position, at
                 FROM journal
                WHERE position >= (search.low + search.high + 1) / 2
                ORDER BY position
                LIMIT 1) AS middle
     WHERE search.low < search.high)
SELECT low FROM search WHERE low >= high LIMIT 1

-- name: last_entry
SELECT position FROM journal ORDER BY position DESC LIMIT 1

-- name: balance_after
-- What the account owned after its last entry up to a position.
SELECT balance_after_minor
  FROM journal
 WHERE account_id = %(account_id)s AND position <= %(position)s
 ORDER BY position DESC
 LIMIT 1

-- name: page_of_statement
-- Oldest first. The customer's money is our liability, so what he gets is a credit and stands there below zero.
SELECT position, payment_id, at, -customer_minor, balance_after_minor
  FROM journal
 WHERE account_id = %(account_id)s AND position > %(after)s AND position <= %(upto)s
 ORDER BY position
 LIMIT %(limit)s
