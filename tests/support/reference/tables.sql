-- name: read_columns
-- Every column of the schema's tables, in the order in which the tables have them.
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       coalesce(pg_get_expr(d.adbin, d.adrelid), '')
  FROM pg_class AS c
  JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
 WHERE c.relnamespace = %(schema)s::regnamespace AND c.relkind IN ('r', 'p')
 ORDER BY c.relname, a.attnum

-- name: read_constraints
-- Keys and checks; NOT NULL stands with its column.
SELECT c.relname, k.conname, pg_get_constraintdef(k.oid)
  FROM pg_class AS c
  JOIN pg_constraint AS k ON k.conrelid = c.oid AND k.contype <> 'n'
 WHERE c.relnamespace = %(schema)s::regnamespace
 ORDER BY c.relname, k.contype DESC, k.conname

-- name: read_indexes
-- Indexes that no key has made.
SELECT c.relname, n.relname,
       CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END || substring(pg_get_indexdef(i.indexrelid) FROM ' USING (.*)$')
  FROM pg_class AS c
  JOIN pg_index AS i ON i.indrelid = c.oid
  JOIN pg_class AS n ON n.oid = i.indexrelid
 WHERE c.relnamespace = %(schema)s::regnamespace
   AND NOT EXISTS (SELECT 1 FROM pg_constraint AS k WHERE k.conindid = i.indexrelid AND k.conrelid = c.oid)
 ORDER BY c.relname, n.relname

-- name: read_rights
-- What the service's role may do with a whole table, and with single columns of it.
SELECT c.relname, a.privilege_type, ''
  FROM pg_class AS c
 CROSS JOIN LATERAL aclexplode(c.relacl) AS a
 WHERE c.relnamespace = %(schema)s::regnamespace AND c.relkind IN ('r', 'p') AND a.grantee = %(role)s::regrole
 UNION ALL
SELECT c.relname, a.privilege_type, string_agg(f.attname, ', ' ORDER BY f.attnum)
  FROM pg_class AS c
  JOIN pg_attribute AS f ON f.attrelid = c.oid
 CROSS JOIN LATERAL aclexplode(f.attacl) AS a
 WHERE c.relnamespace = %(schema)s::regnamespace AND a.grantee = %(role)s::regrole
 GROUP BY c.relname, a.privilege_type
 ORDER BY 1, 3, 2
