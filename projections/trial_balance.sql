-- name: sum_up
-- Sums over accounts may pass what a bigint holds; sum() of a bigint is numeric.
SELECT currency, coalesce(entries, 0), coalesce(customers, 0), coalesce(gateway_clearing, 0), coalesce(fee_revenue, 0),
       coalesce(opening_equity, 0), coalesce(position, 0), coalesce(accounts, 0)
  FROM (SELECT currency, count(*) AS entries, sum(customer_minor) AS customers,
               sum(gateway_clearing_minor) AS gateway_clearing, sum(fee_revenue_minor) AS fee_revenue,
               sum(opening_equity_minor) AS opening_equity, max(position) AS position
          FROM journal
         GROUP BY currency) AS j
  FULL JOIN (SELECT currency, sum(posted_minor) AS accounts FROM account_balance GROUP BY currency) AS a
 USING (currency)
 ORDER BY currency
