-- Callers prove who they are.
-- beside: yes: the API before asks for no key, so keys hold once it has stopped

-- The keys with which programs call the API. Of a secret only the digest is kept. `users` are those to which the key is
-- bound, null for all. After a rotation the former secret is taken until `former_until`.
CREATE TABLE api_key (
    id text COLLATE "C" NOT NULL,
    name text NOT NULL,
    scopes text[] COLLATE "C" NOT NULL,
    users bigint[],
    digest bytea NOT NULL,
    former_digest bytea,
    former_until timestamptz,
    created_at timestamptz NOT NULL,
    created_by text,
    expires_at timestamptz,
    revoked_at timestamptz,
    revoked_by text,
    last_used_at timestamptz,
    CONSTRAINT api_key_pkey PRIMARY KEY (id),
    CONSTRAINT api_key_digest CHECK (octet_length(digest) = 32),
    CONSTRAINT api_key_former CHECK ((former_digest IS NULL) = (former_until IS NULL)),
    CONSTRAINT api_key_scopes CHECK (scopes <@ ARRAY['accounts:write', 'payments:write', 'read', 'operate', 'audit', 'admin']::text[])
);
