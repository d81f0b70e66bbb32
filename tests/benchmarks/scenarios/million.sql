-- name: queue_size
SELECT pg_total_relation_size('gateway_queue')
