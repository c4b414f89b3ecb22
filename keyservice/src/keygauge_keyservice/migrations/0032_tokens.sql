-- Bearer tokens beside the two of the environment: of services and of operators, each named, and revoked by itself.

CREATE TABLE token (
    id            text PRIMARY KEY,           -- 12 characters, base62
    kind          text NOT NULL CHECK (kind IN ('service', 'admin')),
    name          text NOT NULL,              -- of the service, or of who or what acts; many tokens may share it
    scope         text NOT NULL DEFAULT 'all' CHECK (scope IN ('read', 'keys', 'billing', 'all')),
    hash          bytea NOT NULL UNIQUE,      -- SHA-256 of 256 random bits
    created_at    timestamptz NOT NULL DEFAULT now(),
    created_by    text NOT NULL,
    expires_at    timestamptz,
    revoked_at    timestamptz,
    last_used_at  timestamptz,                -- within a minute
    CHECK (kind = 'admin' OR scope = 'all')
);

ALTER TABLE spool ADD COLUMN token_name text; -- of the service whose token opened it; NULL: the environment's
