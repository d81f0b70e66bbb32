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

-- name: read_pages
-- Pages of accounts without filters, for several readers at once, each row with its page's number. OFFSET 0 has each page
-- looked up by the account's index.
SELECT page.number, payments.*
  FROM unnest(%(account_ids)s::bigint[], %(befores)s::bigint[], %(limits)s::bigint[])
       WITH ORDINALITY AS page (account_id, before, row_limit, number)
 CROSS JOIN LATERAL (
           SELECT payment_id, account_id, kind, amount_minor, fee_minor, currency, status, attempts, last_error,
                  next_retry_at, created_at, updated_at
             FROM payment_status
            WHERE account_id = page.account_id AND payment_id < page.before
            ORDER BY payment_id DESC
            LIMIT page.row_limit
           OFFSET 0) AS payments
 ORDER BY page.number, payments.payment_id DESC

-- name: last_looked_at_of_account
SELECT payment_id
  FROM payment_status
 WHERE account_id = %(account_id)s AND payment_id < %(before)s
 ORDER BY payment_id DESC
OFFSET %(looked_at_max)s - 1
 LIMIT 1
