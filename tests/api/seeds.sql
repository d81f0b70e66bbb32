-- name: payment
INSERT INTO payment_status (payment_id, account_id, kind, amount_minor, fee_minor, currency, state, status, attempts,
                            last_error, next_retry_at, created_at, updated_at, position, contradictions, closed)
VALUES (%(payment_id)s, %(account_id)s, %(kind)s, %(amount_minor)s, %(fee_minor)s, %(currency)s, %(state)s, %(status)s,
        %(attempts)s, %(last_error)s, %(next_retry_at)s, %(at)s, %(at)s, %(position)s, 0, false)

-- name: account
INSERT INTO account_balance (account_id, currency, posted_minor, held_minor, version, opened_at, updated_at, position)
VALUES (%(account_id)s, %(currency)s, %(posted_minor)s, %(held_minor)s, 1, %(at)s, %(at)s, 1)

-- name: entry
INSERT INTO journal (position, account_id, payment_id, currency, customer_minor, gateway_clearing_minor,
                     fee_revenue_minor, opening_equity_minor, balance_after_minor, at)
VALUES (%(position)s, %(account_id)s, %(payment_id)s, %(currency)s, %(customer_minor)s, %(gateway_clearing_minor)s,
        %(fee_revenue_minor)s, %(opening_equity_minor)s, %(balance_after_minor)s, %(at)s)

-- name: letter
INSERT INTO dead_letter (payment_id, position, account_id, kind, amount_minor, fee_minor, currency, state, error,
                         attempts, created_at)
VALUES (%(payment_id)s, %(position)s, 1, 'withdraw', 5000, 100, 'USD', %(state)s, 'gateway_error_502', 3, %(at)s)

-- name: counter
INSERT INTO counters (name, value) VALUES (%(name)s, %(value)s)

-- name: stopped
UPDATE tracking SET stopped_at_position = 7, stopped_because = 'unknown topic' WHERE name = %(name)s

-- name: heartbeat
INSERT INTO heartbeats (part, instance, at) VALUES (%(part)s, %(instance)s, now())
