-- name: count_as_begun
-- The store before may have begun each call that is due, or that was by its clock. The entry looks as a worker leaves it
-- who dies in the middle of the call.
UPDATE gateway_queue
   SET attempt = attempt + 1, leased_until = %(now)s, leased_by = %(leased_by)s
 WHERE action = 'pay' AND due_at <= %(latest)s

-- name: put_in_charge
UPDATE head SET withheld = false
