-- name: notify
SELECT pg_notify(channel, '') FROM unnest(%(channels)s::text[]) AS c (channel)

-- name: listen
LISTEN {channel}
