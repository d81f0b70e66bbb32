-- name: read_live_keys
-- The seconds that are left are counted by the database's clock, so a wrong clock of a process prolongs no key.
SELECT id, scopes, users, digest, former_digest,
       extract(epoch FROM expires_at - now())::float8,
       extract(epoch FROM former_until - now())::float8
  FROM api_key
 WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())

-- name: note_use
UPDATE api_key SET last_used_at = now() WHERE id = ANY(%(ids)s)

-- name: has_live_key
SELECT EXISTS (SELECT 1
                 FROM api_key
                WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()))

-- name: insert_key
INSERT INTO api_key (id, name, scopes, users, digest, created_at, created_by, expires_at)
VALUES (%(id)s, %(name)s, %(scopes)s::text[], %(users)s::bigint[], %(digest)s, now(), %(by)s,
        now() + %(lifetime)s::interval)
RETURNING id, name, scopes, users, created_at, created_by, expires_at, revoked_at, revoked_by, former_until,
          last_used_at

-- name: list_keys
SELECT id, name, scopes, users, created_at, created_by, expires_at, revoked_at, revoked_by, former_until, last_used_at
  FROM api_key
 ORDER BY created_at DESC, id
 LIMIT %(limit)s OFFSET %(offset)s

-- name: rotate_key
-- Two secrets are live at most: the one before the former is taken no longer.
UPDATE api_key
   SET former_digest = digest, former_until = now() + %(keep)s::interval, digest = %(digest)s
 WHERE id = %(id)s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
RETURNING id, name, scopes, users, created_at, created_by, expires_at, revoked_at, revoked_by, former_until,
          last_used_at

-- name: revoke_key
-- The first revocation counts, so a repetition does not change who did it and when.
UPDATE api_key
   SET revoked_at = coalesce(revoked_at, now()),
       revoked_by = CASE WHEN revoked_at IS NULL THEN %(by)s ELSE revoked_by END
 WHERE id = %(id)s
RETURNING id, name, scopes, users, created_at, created_by, expires_at, revoked_at, revoked_by, former_until,
          last_used_at

-- name: key_exists
SELECT 1 FROM api_key WHERE id = %(id)s
