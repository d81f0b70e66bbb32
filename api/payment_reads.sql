-- name: read_payments
-- Payments by id, for many readers at once.
SELECT payment_id, account_id, kind, amount_minor, fee_minor, currency, status, attempts, last_error, next_retry_at,
       created_at, updated_at
  FROM payment_status
 WHERE payment_id = ANY(%(ids)s)

-- name: page_of_all
-- Newest first: ids of payments grow with time, whoever's they are.
-- A filter that few payments pass would read the whole table for one page, so a page looks at so many rows and no more.
SELECT payment_id, account_id, kind, amount_minor, fee_minor, currency, status, attempts, last_error, next_retry_at,
       created_at, updated_at
  FROM (SELECT *
          FROM payment_status
         WHERE payment_id < %(before)s
         ORDER BY payment_id DESC
         LIMIT %(looked_at_max)s) AS looked_at
 WHERE (%(status)s::text IS NULL OR status = %(status)s)
   AND (%(kind)s::text IS NULL OR kind = %(kind)s)
 ORDER BY payment_id DESC
 LIMIT %(limit)s

-- name: last_looked_at_of_all
-- The last row that page_of_all looked at, where the next page goes on; none when it has seen all that there are.
SELECT payment_id
  FROM payment_status
 WHERE payment_id < %(before)s
 ORDER BY payment_id DESC
OFFSET %(looked_at_max)s - 1
 LIMIT 1

-- name: page_of_account
-- The same for one account.
SELECT payment_id, account_id, kind, amount_minor, fee_minor, currency, status, attempts, last_error, next_retry_at,
       created_at, updated_at
  FROM (SELECT *
          FROM payment_status
         WHERE account_id = %(account_id)s AND payment_id < %(before)s
         ORDER BY payment_id DESC
         LIMIT %(looked_at_max)s) AS looked_at
 WHERE (%(status)s::text IS NULL OR status = %(status)s)
   AND (%(kind)s::text IS NULL OR kind = %(kind)s)
 ORDER BY payment_id DESC
 LIMIT %(limit)s

-- name: last_looked_at_of_account
SELECT payment_id
  FROM payment_status
 WHERE account_id = %(account_id)s AND payment_id < %(before)s
 ORDER BY payment_id DESC
OFFSET %(looked_at_max)s - 1
 LIMIT 1
