-- The books as rows: an entry has any number of postings, each to an account of the chart, and the database itself proves
-- that the debits of an entry are its credits. The numbers in the journal's columns become rows, so that
-- the service goes on at once and nothing is rebuilt.
-- beside: no: it drops the journal, which the projector writes and the API reads
-- events: account.adjusted, payment.adjusted

-- The entry of one event in one currency. The sums are those of the entry's postings, taken from their table in
-- the transaction that adds them.
CREATE TABLE journal_entry (
    position bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    payment_id bigint,
    at timestamptz NOT NULL,
    debit_minor bigint NOT NULL,
    credit_minor bigint NOT NULL,
    CONSTRAINT journal_entry_pkey PRIMARY KEY (position, currency),
    CONSTRAINT journal_entry_balanced CHECK (debit_minor = credit_minor)
);

-- An amount on one side of one account: position and currency name its entry, number its place among the postings of the
-- event. A customer's money is a liability of ours, so what they get is a credit, and balance_after_minor is what they
-- then own. Only a customer's posting may be of nothing: it stands in their statement.
CREATE TABLE journal_posting (
    position bigint NOT NULL,
    number smallint NOT NULL,
    account text COLLATE "C" NOT NULL,
    account_id bigint,
    gateway text COLLATE "C",
    direction text COLLATE "C" NOT NULL,
    amount_minor bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    balance_after_minor bigint,
    CONSTRAINT journal_posting_pkey PRIMARY KEY (position, number),
    CONSTRAINT journal_posting_number_counts CHECK (number >= 1),
    CONSTRAINT journal_posting_account CHECK (
        account IN ('customer', 'gateway_clearing', 'fee_revenue', 'opening_equity', 'suspense', 'transit')
    ),
    CONSTRAINT journal_posting_of_customer CHECK (
        (account = 'customer') = (account_id IS NOT NULL) AND (account = 'customer') = (balance_after_minor IS NOT NULL)
    ),
    CONSTRAINT journal_posting_of_gateway CHECK ((account = 'gateway_clearing') = (gateway IS NOT NULL)),
    CONSTRAINT journal_posting_direction CHECK (direction IN ('debit', 'credit')),
    CONSTRAINT journal_posting_amount CHECK (amount_minor > 0 OR (amount_minor = 0 AND account = 'customer')),
    CONSTRAINT journal_posting_balance CHECK (balance_after_minor BETWEEN 0 AND 9007199254740991)
);

INSERT INTO journal_posting (position, number, account, account_id, gateway, direction, amount_minor, currency,
                             balance_after_minor)
SELECT j.position, p.number, p.account, p.account_id, p.gateway,
       CASE WHEN p.minor > 0 THEN 'debit' ELSE 'credit' END, abs(p.minor), j.currency, p.balance_after_minor
  FROM journal AS j
 CROSS JOIN LATERAL (
           VALUES (1, 'customer', j.customer_minor, j.account_id, NULL, j.balance_after_minor),
                  (2, 'gateway_clearing', j.gateway_clearing_minor, NULL, 'default', NULL),
                  (2, 'opening_equity', j.opening_equity_minor, NULL, NULL, NULL),
                  (3, 'fee_revenue', j.fee_revenue_minor, NULL, NULL, NULL))
       AS p (number, account, minor, account_id, gateway, balance_after_minor)
 WHERE p.minor <> 0 OR p.account = 'customer';

INSERT INTO journal_entry (position, currency, payment_id, at, debit_minor, credit_minor)
SELECT j.position, j.currency, j.payment_id, j.at, s.debit_minor, s.credit_minor
  FROM journal AS j
  JOIN (SELECT position, currency,
               coalesce(sum(amount_minor) FILTER (WHERE direction = 'debit'), 0)::bigint AS debit_minor,
               coalesce(sum(amount_minor) FILTER (WHERE direction = 'credit'), 0)::bigint AS credit_minor
          FROM journal_posting
         GROUP BY position, currency) AS s USING (position, currency);

-- An account's statement, in order: an event posts to a customer once at most.
CREATE UNIQUE INDEX journal_posting_statement ON journal_posting (account_id, position) WHERE account_id IS NOT NULL;

DROP TABLE journal;
