-- name: make_schema
-- The stock recorder makes its tables in it, and does not make it.
CREATE SCHEMA stock
