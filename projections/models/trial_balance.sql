-- name: sum_up
-- One statement, and so one snapshot, in which journal and accounts agree. Sums over accounts may pass what a bigint
-- holds; sum() of a bigint is numeric. Of postings debits count above zero and credits below.
WITH posted AS (
    SELECT currency, account, gateway,
           coalesce(sum(amount_minor) FILTER (WHERE direction = 'debit'), 0) AS debit,
           coalesce(sum(amount_minor) FILTER (WHERE direction = 'credit'), 0) AS credit
      FROM journal_posting
     GROUP BY currency, account, gateway)
SELECT currency, coalesce(entries, 0), coalesce(position, 0), coalesce(entered, 0), coalesce(debit, 0),
       coalesce(credit, 0), coalesce(customers, 0), coalesce(gateways, '{}'), coalesce(fee_revenue, 0),
       coalesce(opening_equity, 0), coalesce(suspense, 0), coalesce(transit, 0), coalesce(accounts, 0)
  FROM (SELECT currency, sum(debit) AS debit, sum(credit) AS credit,
               sum(debit - credit) FILTER (WHERE account = 'customer') AS customers,
               jsonb_object_agg(gateway, debit - credit) FILTER (WHERE account = 'gateway_clearing') AS gateways,
               sum(debit - credit) FILTER (WHERE account = 'fee_revenue') AS fee_revenue,
               sum(debit - credit) FILTER (WHERE account = 'opening_equity') AS opening_equity,
               sum(debit - credit) FILTER (WHERE account = 'suspense') AS suspense,
               sum(debit - credit) FILTER (WHERE account = 'transit') AS transit
          FROM posted
         GROUP BY currency) AS p
  FULL JOIN (SELECT currency, count(*) AS entries, max(position) AS position, sum(debit_minor) AS entered
               FROM journal_entry
              GROUP BY currency) AS e USING (currency)
  FULL JOIN (SELECT currency, sum(posted_minor) AS accounts FROM account_balance GROUP BY currency) AS a USING (currency)
 ORDER BY currency
