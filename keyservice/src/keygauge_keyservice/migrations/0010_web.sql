-- Writes of the API that came with an Idempotency-Key, and how they were answered; secrets are left out.

CREATE TABLE idempotency (
    hash         bytea PRIMARY KEY,           -- SHA-256 of method, path and the key
    fingerprint  bytea NOT NULL,              -- SHA-256 of the body
    status       smallint,                    -- NULL: it is being done, or was broken off
    body         jsonb,
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idempotency_created ON idempotency (created_at);

-- What the key service does by itself now and then, one of its processes each time.
CREATE TABLE job (
    name        text PRIMARY KEY,
    done_at     timestamptz NOT NULL
) WITH (fillfactor = 50);
