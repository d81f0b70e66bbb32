-- The writer counts an account's payments that have not ended, when their number is limited. The index of deposits
-- becomes one of both kinds, so there are as many indexes as before. Payments wait while it is made, half a second
-- for a million waiting payments.
-- beside: yes

DROP INDEX gateway_queue_deposits;

-- The writer counts the waiting payments of an account, and sums up the deposits among them for one that is not in its
-- cache. A payment that is asked about late has failed, and does not wait.
CREATE INDEX gateway_queue_waiting ON gateway_queue (account_id) WHERE action <> 'inquire_late';
