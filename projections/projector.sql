-- name: unlisten
UNLISTEN *
