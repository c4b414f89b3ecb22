-- What the peppers are known by, so that a service with another one says so instead of refusing every key.

CREATE TABLE pepper (
    version      integer PRIMARY KEY,
    fingerprint  bytea NOT NULL,               -- HMAC-SHA256(pepper, a fixed text): tells nothing of the pepper
    created_at   timestamptz NOT NULL DEFAULT now()
);
