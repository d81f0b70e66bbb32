-- The queue also has the inquiry before a new series of calls, and the late inquiries about a payment that failed because
-- the gateway did not know it. The table is small: it has the payments on their way.
-- beside: no: the worker before does not know the new actions of the queue, and no part reads payment.inquired/2
-- events: payment.inquired/2

ALTER TABLE gateway_queue DROP CONSTRAINT gateway_queue_action;
ALTER TABLE gateway_queue ADD CONSTRAINT gateway_queue_action CHECK (
    action IN ('pay', 'inquire', 'inquire_first', 'inquire_late')
);

DROP INDEX gateway_queue_deposits;

-- The writer sums up the pending deposits of an account that is not in its cache. A payment that is asked about late has
-- failed, and is not pending.
CREATE INDEX gateway_queue_deposits ON gateway_queue (account_id) WHERE kind = 'deposit' AND action <> 'inquire_late';

-- A payment that was queued again under its old gateway key keeps the doubt about the calls under that key.
UPDATE gateway_queue AS q
   SET unknown = true
  FROM (SELECT e.originator_id, e.data ->> 'gateway_key' AS gateway_key,
               max(e.originator_version) FILTER (WHERE e.data ->> 'outcome' = 'unknown') AS lost,
               max(e.originator_version) FILTER (
                   WHERE e.data ->> 'answer' = 'declined' AND e.data ->> 'error' IS DISTINCT FROM 'not_found'
               ) AS declined
          FROM (SELECT originator_id, originator_version, convert_from(state, 'UTF8')::jsonb -> 'data' AS data
                  FROM events
                 WHERE originator_id IN (SELECT 'payment-' || payment_id FROM gateway_queue WHERE series > 1)
                   AND topic IN ('payment.gateway_attempted', 'payment.inquired')) AS e
         GROUP BY e.originator_id, e.data ->> 'gateway_key') AS k
 WHERE k.originator_id = 'payment-' || q.payment_id AND k.gateway_key = q.gateway_key
   AND k.lost > coalesce(k.declined, 0);
