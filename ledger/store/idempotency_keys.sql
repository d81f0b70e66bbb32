-- name: read_keys
-- LATERAL with OFFSET 0 makes this one index look-up for each key, even before the planner has statistics.
SELECT k.scope, k.key, i.subject_kind, i.subject_id, i.fingerprint_version, i.fingerprint
  FROM unnest(%(scopes)b::text[], %(keys)b::text[]) AS k (scope, key)
 CROSS JOIN LATERAL (
           SELECT subject_kind, subject_id, fingerprint_version, fingerprint
             FROM idempotency_keys
            WHERE scope = k.scope AND key = k.key
           OFFSET 0) AS i

-- name: insert_keys
INSERT INTO idempotency_keys (scope, key, subject_kind, subject_id, fingerprint_version, fingerprint)
SELECT scope, key, subject_kind, subject_id, fingerprint_version, fingerprint
  FROM unnest(%(scopes)b::text[], %(keys)b::text[], %(subject_kinds)b::text[], %(subject_ids)b::bigint[],
              %(fingerprint_versions)b::bigint[], %(fingerprints)b::text[])
    AS k (scope, key, subject_kind, subject_id, fingerprint_version, fingerprint)
 CROSS JOIN (SELECT count(*) FROM ledger_identity) AS here
