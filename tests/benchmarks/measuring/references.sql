-- name: make_schema
-- The stock recorder creates its tables in this schema, but not the schema.
CREATE SCHEMA stock
