-- Several of these statements give statements: what a copy of a live table is made of stands in the catalog, and is
-- read from there, so that a copy has whatever the migrations and the operators have given to the table.

-- name: lock
-- One rebuild of a ledger at a time. The lock goes with the session, so a killed rebuild leaves none behind.
SELECT pg_try_advisory_lock(hashtextextended('payment-ledger rebuild ' || current_schema(), 0))

-- name: drop_copies
SELECT format('DROP TABLE IF EXISTS %%I', t.name || %(suffix)s) FROM unnest(%(tables)s::text[]) AS t (name)

-- name: create_copies
-- Columns, defaults, checks and NOT NULL constraints come with LIKE, under their names. Indexes come later: they need
-- other names as long as the live ones exist.
SELECT format('CREATE TABLE %%I (LIKE %%I INCLUDING ALL EXCLUDING INDEXES)', c.relname || %(suffix)s, c.relname)
       || coalesce(' WITH (' || array_to_string(c.reloptions, ', ') || ')', '')
  FROM pg_class AS c
 WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY (%(tables)s)

-- name: create_keys
-- While the log is applied, rows are found by these.
SELECT format('ALTER TABLE %%I ADD CONSTRAINT %%I %%s', c.relname || %(suffix)s, k.conname || %(suffix)s,
              pg_get_constraintdef(k.oid))
  FROM pg_class AS c
  JOIN pg_constraint AS k ON k.conrelid = c.oid AND k.contype IN ('p', 'u')
 WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY (%(tables)s)

-- name: create_indexes
-- The others are made when most of the rows are there: sorting them once is cheaper than finding a place for each.
SELECT format('CREATE %%s INDEX %%I ON %%I %%s', CASE WHEN i.indisunique THEN 'UNIQUE' ELSE '' END,
              n.relname || %(suffix)s, c.relname || %(suffix)s,
              substring(pg_get_indexdef(i.indexrelid) FROM ' USING .*$'))
  FROM pg_class AS c
  JOIN pg_index AS i ON i.indrelid = c.oid
  JOIN pg_class AS n ON n.oid = i.indexrelid
 WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY (%(tables)s)
   AND NOT EXISTS (SELECT 1 FROM pg_constraint AS k WHERE k.conindid = i.indexrelid AND k.conrelid = c.oid)

-- name: give_rights
-- The owner comes last, because the former owner may have no rights on the table afterwards.
SELECT statement
  FROM (SELECT 1 AS step, format('GRANT %%s ON %%I TO %%s%%s', a.privilege_type, c.relname || %(suffix)s,
                                 CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
                                 CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) AS statement
          FROM pg_class AS c
         CROSS JOIN LATERAL aclexplode(c.relacl) AS a
         WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY (%(tables)s)
           AND a.grantee <> c.relowner
         UNION ALL
        SELECT 1, format('GRANT %%s (%%I) ON %%I TO %%s%%s', a.privilege_type, f.attname, c.relname || %(suffix)s,
                         CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
                         CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
          FROM pg_class AS c
          JOIN pg_attribute AS f ON f.attrelid = c.oid
         CROSS JOIN LATERAL aclexplode(f.attacl) AS a
         WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY (%(tables)s)
         UNION ALL
        SELECT 2, format('ALTER TABLE %%I OWNER TO %%s', c.relname || %(suffix)s, c.relowner::regrole)
          FROM pg_class AS c
         WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY (%(tables)s)
           AND c.relowner <> current_user::regrole) AS s
 ORDER BY step

-- name: swap
-- The live tables go, and the names of their constraints and indexes are free for the copies'. Renaming the index of a
-- constraint renames the constraint.
SELECT statement
  FROM (SELECT 1 AS step, format('DROP TABLE %%I', c.relname) AS statement
          FROM pg_class AS c
         WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY (%(tables)s)
         UNION ALL
        SELECT 2, format('ALTER INDEX %%I RENAME TO %%I', n.relname || %(suffix)s, n.relname)
          FROM pg_class AS c
          JOIN pg_index AS i ON i.indrelid = c.oid
          JOIN pg_class AS n ON n.oid = i.indexrelid
         WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY (%(tables)s)
         UNION ALL
        SELECT 3, format('ALTER TABLE %%I RENAME TO %%I', c.relname || %(suffix)s, c.relname)
          FROM pg_class AS c
         WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY (%(tables)s)) AS s
 ORDER BY step

-- name: read_shape
-- All that makes up the live tables but their rows, to be found again when they are swapped.
SELECT c.relname::text, 'column' AS what, a.attname::text AS name,
       concat_ws(' ', a.attnum, format_type(a.atttypid, a.atttypmod), a.attcollation::regcollation, a.attnotnull,
                 pg_get_expr(d.adbin, d.adrelid), a.attacl) AS definition
  FROM pg_class AS c
  JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
 WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY (%(tables)s)
 UNION ALL
SELECT c.relname, 'constraint', k.conname, pg_get_constraintdef(k.oid)
  FROM pg_class AS c
  JOIN pg_constraint AS k ON k.conrelid = c.oid
 WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY (%(tables)s)
 UNION ALL
SELECT c.relname, 'index', n.relname, pg_get_indexdef(i.indexrelid)
  FROM pg_class AS c
  JOIN pg_index AS i ON i.indrelid = c.oid
  JOIN pg_class AS n ON n.oid = i.indexrelid
 WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY (%(tables)s)
 UNION ALL
SELECT c.relname, 'table', c.relname,
       concat_ws(' ', c.relowner::regrole, c.relpersistence, c.reloptions,
                 (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(c.relacl) AS a))
  FROM pg_class AS c
 WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY (%(tables)s)
 ORDER BY 1, 2, 3

-- name: read_positions
-- Live tables that are further than the log, as after a restore of one without the other, are compared at its end.
SELECT name, least(position, (SELECT position FROM log_head)) FROM projection_tracking WHERE name = ANY (%(names)s)

-- name: lock_positions
-- As long as this is held, no projector moves, and the live tables stay as they are. Where they stand is read by a
-- statement of its own after it: this one may have waited for a projector, and would see the head as it was before.
SELECT name FROM projection_tracking WHERE name = ANY (%(names)s) ORDER BY name FOR UPDATE

-- name: read_head
SELECT position FROM log_head

-- name: move
UPDATE projection_tracking
   SET position = %(position)s, models = %(models)s, stopped_at_position = NULL,
       stopped_because = NULL, updated_at = now()
 WHERE name = %(name)s

-- name: bound_swap
-- A reader in a long transaction may hold a live table. A session that waits for this reader makes all later readers
-- wait as well, so the wait is short, and the swap is tried again. The tables that are swapped in must be durable.
SELECT set_config('lock_timeout', %(lock_timeout)s, true), set_config('synchronous_commit', 'on', true)

-- name: begin_comparing
-- One snapshot for all tables, because the projector may go on during the comparison.
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY

-- name: take_snapshot
-- The first statement takes the snapshot. Whole tables are read here, and by key nowhere.
SELECT set_config('enable_seqscan', 'on', true)

-- name: end_comparing
ROLLBACK

-- name: compare
-- Row by row: those that only one side has, and those in which any column of the read model differs. No column of a key
-- is ever null, so that the first one tells whether a side has the row.
SELECT count(*) OVER () AS differing,
       count(*) FILTER (WHERE {live_key} IS NULL) OVER () AS missing,
       count(*) FILTER (WHERE {rebuilt_key} IS NULL) OVER () AS surplus,
       CASE WHEN {live_key} IS NOT NULL THEN to_jsonb(l) END AS live,
       CASE WHEN {rebuilt_key} IS NOT NULL THEN to_jsonb(r) END AS rebuilt
  FROM {live} AS l
  FULL JOIN {rebuilt} AS r USING ({key})
 WHERE ROW ({live_columns}) IS DISTINCT FROM ROW ({rebuilt_columns})
 ORDER BY {key}
 LIMIT %(examples)s
