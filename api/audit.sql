-- name: allow_scan
-- The sum over the whole journal is the one read that has no index to go by.
SET LOCAL enable_seqscan = on

-- name: sum_journal
-- Sums over accounts may pass what a bigint holds; sum() of a bigint is numeric.
SELECT currency, count(*), sum(customer_minor), sum(gateway_clearing_minor), sum(fee_revenue_minor),
       sum(opening_equity_minor), max(position)
  FROM journal
 GROUP BY currency
 ORDER BY currency
