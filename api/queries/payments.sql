-- name: read_payments
-- Payments by id. One query serves the payments of many waiting requests. The last column tells that a stream of the
-- payment's user is set aside, so that the row may not be as the events say.
SELECT payment_id, account_id, kind, amount_minor, fee_minor, currency, status, attempts, last_error, next_retry_at,
       created_at, updated_at,
       (SELECT true FROM projection_set_aside WHERE account_id = p.account_id AND name = 'read_models' LIMIT 1)
           IS NOT NULL
  FROM payment_status AS p
 WHERE payment_id = ANY(%(ids)s)

-- name: page_of_all
-- Newest first: ids of payments grow with time, across all accounts.
-- A filter that few payments pass would make one page read the whole table, so a page scans a limited number of rows.
SELECT payment_id, account_id, kind, amount_minor, fee_minor, currency, status, attempts, last_error, next_retry_at,
       created_at, updated_at
  FROM (SELECT *
          FROM payment_status
         WHERE payment_id < %(before)s
         ORDER BY payment_id DESC
         LIMIT %(scanned_max)s) AS scanned
 WHERE (%(status)s::text IS NULL OR status = %(status)s)
   AND (%(kind)s::text IS NULL OR kind = %(kind)s)
 ORDER BY payment_id DESC
 LIMIT %(limit)s

-- name: last_scanned_of_all
-- The last row that page_of_all scanned, after which the next page begins; no row when page_of_all scanned all of them.
-- Only the index is scanned, and the row is read for its time.
SELECT payment_id, created_at
  FROM payment_status
 WHERE payment_id = (SELECT payment_id
                       FROM payment_status
                      WHERE payment_id < %(before)s
                      ORDER BY payment_id DESC
                     OFFSET %(scanned_max)s - 1
                      LIMIT 1)

-- name: page_of_account
-- The same page for one account, and whether a stream of it is set aside.
SELECT payment_id, account_id, kind, amount_minor, fee_minor, currency, status, attempts, last_error, next_retry_at,
       created_at, updated_at,
       (SELECT true FROM projection_set_aside WHERE account_id = %(account_id)s AND name = 'read_models' LIMIT 1)
           IS NOT NULL
  FROM (SELECT *
          FROM payment_status
         WHERE account_id = %(account_id)s AND payment_id < %(before)s
         ORDER BY payment_id DESC
         LIMIT %(scanned_max)s) AS scanned
 WHERE (%(status)s::text IS NULL OR status = %(status)s)
   AND (%(kind)s::text IS NULL OR kind = %(kind)s)
 ORDER BY payment_id DESC
 LIMIT %(limit)s

-- name: read_pages
-- Pages of accounts without filters, for several waiting requests, each row with its page's number. OFFSET 0 makes the
-- planner look up each page by the account's index.
SELECT page.number, payments.*
  FROM unnest(%(account_ids)s::bigint[], %(befores)s::bigint[], %(limits)s::bigint[])
       WITH ORDINALITY AS page (account_id, before, row_limit, number)
 CROSS JOIN LATERAL (
           SELECT payment_id, account_id, kind, amount_minor, fee_minor, currency, status, attempts, last_error,
                  next_retry_at, created_at, updated_at,
                  (SELECT true FROM projection_set_aside WHERE account_id = page.account_id AND name = 'read_models' LIMIT 1)
                      IS NOT NULL
             FROM payment_status
            WHERE account_id = page.account_id AND payment_id < page.before
            ORDER BY payment_id DESC
            LIMIT page.row_limit
           OFFSET 0) AS payments
 ORDER BY page.number, payments.payment_id DESC

-- name: last_scanned_of_account
SELECT payment_id, created_at
  FROM payment_status
 WHERE payment_id = (SELECT payment_id
                       FROM payment_status
                      WHERE account_id = %(account_id)s AND payment_id < %(before)s
                      ORDER BY payment_id DESC
                     OFFSET %(scanned_max)s - 1
                      LIMIT 1)
