-- name: give_back
-- Inquiries that were claimed at the moment at which the clock was set. None of them was made, and none is counted.
UPDATE gateway_queue SET leased_until = NULL, leased_by = NULL
 WHERE payment_id = ANY (%(payment_ids)b::bigint[]) AND action <> 'pay' AND leased_by = %(worker)s

-- name: bound_due_times
-- After the clock was set back, entries would wait until it has reached the time at which they were due by the former
-- clock. No entry waits for longer than the retry policy lets it, counted from now on, because the time at which it was
-- scheduled is not known. A worker with a shorter policy bounds the entries of one with a longer policy too, so a
-- longer GATEWAY_INQUIRY_DELAY_SECONDS holds only once no worker with the shorter one starts any more.
WITH late AS MATERIALIZED (
    SELECT payment_id,
           CASE WHEN action = 'pay' THEN %(retry)s
                ELSE least(%(inquiry)s * power(2, least(inquiries, 30)), %(inquiry_max)s) END AS wait_max
      FROM gateway_queue
     WHERE due_at > now() + least(%(retry)s, %(inquiry)s) AND action IN ('pay', 'inquire', 'inquire_first')
       FOR UPDATE SKIP LOCKED)
UPDATE gateway_queue AS q
   SET due_at = now() + late.wait_max
  FROM late
 WHERE q.payment_id = late.payment_id AND q.due_at > now() + late.wait_max

-- name: bound_late_inquiries
-- The same for inquiries about payments that have failed. Element n + 1 of the waits is for an inquiry after n clear
-- answers, and the last one for all after that.
WITH late AS MATERIALIZED (
    SELECT payment_id,
           (%(waits)s::interval[])[least(inquiries + 1, cardinality(%(waits)s::interval[]))] AS wait_max
      FROM gateway_queue
     WHERE due_at > now() + (SELECT min(w.wait) FROM unnest(%(waits)s::interval[]) AS w (wait))
       AND action = 'inquire_late'
       FOR UPDATE SKIP LOCKED)
UPDATE gateway_queue AS q
   SET due_at = now() + late.wait_max
  FROM late
 WHERE q.payment_id = late.payment_id AND q.due_at > now() + late.wait_max

-- name: put_off_late_inquiries
-- After the clock was set forward, late inquiries would come early by the step, and the gateway's last `not_found`
-- could be of a time shortly after the failure. So each comes later by the step. Other workers see the step too, and
-- none of them lets an inquiry wait for longer than its whole wait from now on.
WITH late AS MATERIALIZED (
    SELECT payment_id,
           (%(waits)s::interval[])[least(inquiries + 1, cardinality(%(waits)s::interval[]))] AS wait_max
      FROM gateway_queue
     WHERE action = 'inquire_late'
       FOR UPDATE SKIP LOCKED)
UPDATE gateway_queue AS q
   SET due_at = least(q.due_at + %(forward)s, now() + late.wait_max)
  FROM late
 WHERE q.payment_id = late.payment_id

-- name: bound_leases
-- The same for leases: none lasts longer than from now on, or the payment of a worker that died would wait as well.
WITH held AS MATERIALIZED (
    SELECT payment_id FROM gateway_queue WHERE leased_until > now() + %(lease)s FOR UPDATE SKIP LOCKED)
UPDATE gateway_queue AS q
   SET leased_until = now() + %(lease)s
  FROM held
 WHERE q.payment_id = held.payment_id
