-- API writes with an Idempotency-Key, and their responses without secrets.

CREATE TABLE idempotency (
    hash         bytea PRIMARY KEY,           -- SHA-256 of method, path and the key
    fingerprint  bytea NOT NULL,              -- SHA-256 of the body
    status       smallint,                    -- NULL: in progress, or interrupted
    body         jsonb,
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idempotency_created ON idempotency (created_at);

-- Periodic jobs; each run is done by one of the key service's processes.
CREATE TABLE job (
    name        text PRIMARY KEY,
    done_at     timestamptz NOT NULL
) WITH (fillfactor = 50);
