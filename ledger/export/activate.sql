-- name: activate
UPDATE log_head SET inactive = false
