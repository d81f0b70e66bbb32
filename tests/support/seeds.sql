-- name: payment
INSERT INTO payment_status (payment_id, account_id, kind, amount_minor, fee_minor, currency, state, status, attempts,
                            last_error, next_retry_at, created_at, updated_at, position, contradictions, closed)
VALUES (%(payment_id)s, %(account_id)s, %(kind)s, %(amount_minor)s, %(fee_minor)s, %(currency)s, %(state)s, %(status)s,
        %(attempts)s, %(last_error)s, %(next_retry_at)s, %(at)s, %(at)s, %(position)s, 0, false)

-- name: account
INSERT INTO account_balance (account_id, currency, posted_minor, held_minor, version, opened_at, updated_at, position)
VALUES (%(account_id)s, %(currency)s, %(posted_minor)s, %(held_minor)s, 1, %(at)s, %(at)s, 1)

-- name: entry
-- Two postings of one amount: what the customer gets, below zero what they give, and the other account's side of it.
WITH sides (number, account, account_id, gateway, direction, balance_after_minor) AS (
    VALUES (1, 'customer', %(account_id)s::bigint, NULL, CASE WHEN %(amount_minor)s < 0 THEN 'debit' ELSE 'credit' END,
            %(balance_after_minor)s::bigint),
           (2, %(account)s, NULL, %(gateway)s, CASE WHEN %(amount_minor)s < 0 THEN 'credit' ELSE 'debit' END, NULL)),
posted AS (
    INSERT INTO journal_posting (position, number, account, account_id, gateway, direction, amount_minor, currency,
                                 balance_after_minor)
    SELECT %(position)s, number, account, account_id, gateway, direction, abs(%(amount_minor)s), 'USD',
           balance_after_minor
      FROM sides)
INSERT INTO journal_entry (position, currency, payment_id, at, debit_minor, credit_minor)
VALUES (%(position)s, 'USD', %(payment_id)s, %(at)s, abs(%(amount_minor)s), abs(%(amount_minor)s))

-- name: letter
INSERT INTO dead_letter (payment_id, position, account_id, kind, amount_minor, fee_minor, currency, state, error,
                         attempts, created_at)
VALUES (%(payment_id)s, %(position)s, 1, 'withdraw', 5000, 100, 'USD', %(state)s, 'gateway_error_502', 3, %(at)s)

-- name: counter
INSERT INTO counters (name, value) VALUES (%(name)s, %(value)s)

-- name: ends
INSERT INTO payment_end (kind, currency, ended, payments) VALUES (%(kind)s, %(currency)s, %(ended)s, %(payments)s)

-- name: stopped
UPDATE projection_tracking SET stopped_at_position = 7, stopped_because = 'unknown topic' WHERE name = %(name)s

-- name: set_aside
INSERT INTO projection_set_aside (name, stream, account_id, position, because)
VALUES (%(name)s, %(stream)s, %(account_id)s, 7, 'CheckViolation: poison')

-- name: not_filled
UPDATE projection_tracking SET models = array_remove(models, %(model)s)

-- name: heartbeat
INSERT INTO heartbeats (part, instance, at) VALUES (%(part)s, %(instance)s, now())
