-- name: notify
SELECT pg_notify(%(channel)s, '')

-- name: listen
LISTEN {channel}
