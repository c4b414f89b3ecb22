-- Keys, their restrictions and their secrets.

CREATE TABLE key (
    id            text PRIMARY KEY,           -- 12 characters, base62: the public part of the key
    account_id    text NOT NULL REFERENCES account,
    name          text NOT NULL,
    environment   text NOT NULL DEFAULT 'live' CHECK (environment IN ('live', 'test')),
    status        text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled', 'deleted')),
    created_at    timestamptz NOT NULL DEFAULT now(),
    created_by    text,
    expires_at    timestamptz,
    deleted_at    timestamptz,
    last_used_at  timestamptz,                -- updated by the ledger, without a change in the feed
    last_used_ip  text,
    last_used_route text,
    app             text,                          -- the program that uses it, as described by its owner
    scopes          text[] NOT NULL DEFAULT '{}',  -- passed to the metered service, which interprets them
    routes          text[] NOT NULL DEFAULT '{}',  -- allowed route templates, '…*' matches by prefix; empty: all
    networks        text[] NOT NULL DEFAULT '{}',  -- allowed client networks in CIDR notation; empty: all
    models          text[] NOT NULL DEFAULT '{}',  -- allowed models as named by calls, '…*' matches by prefix; empty: all
    tools           text[] NOT NULL DEFAULT '{}',  -- allowed tools as named by JSON-RPC calls, likewise
    rotate_every_days integer CHECK (rotate_every_days BETWEEN 1 AND 3650),  -- reminder in the portal
    -- What an operator has set can only be lifted by an operator.
    locked_status   boolean NOT NULL DEFAULT false,  -- disabled by an operator
    locked_terms    text[] NOT NULL DEFAULT '{}'     -- columns that an operator has set
) WITH (fillfactor = 70);
CREATE INDEX key_account_created ON key (account_id, created_at, id);
CREATE INDEX key_created ON key (created_at DESC, id);               -- for operators: every account
CREATE INDEX key_expires ON key (expires_at) WHERE expires_at IS NOT NULL;  -- for /metrics: every account
-- for searches by prefix of a name or program, independent of the database's collation
CREATE INDEX key_name ON key (lower(name) COLLATE "C", id);
CREATE INDEX key_app ON key (lower(app) COLLATE "C", id) WHERE app IS NOT NULL;

-- HMAC-SHA256(pepper, sha256(token)): neither the token nor the pepper is in the database.
CREATE TABLE key_secret (
    key_id          text NOT NULL REFERENCES key,
    number          integer NOT NULL,         -- 1 for the first, +1 for each rotation
    hash            bytea NOT NULL,
    pepper_version  integer NOT NULL,
    rotation_id     text,                     -- makes a rotation idempotent
    created_at      timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz,
    PRIMARY KEY (key_id, number),
    UNIQUE (key_id, rotation_id)
);

-- Which service looked up which key: a service can only report usage, spend limits and receive changes of these keys.
-- A service is identified by the name of its tokens; the environment's token is the service without a name.
CREATE TABLE service_key (
    service  text NOT NULL,
    key_id   text NOT NULL REFERENCES key ON DELETE CASCADE,
    PRIMARY KEY (key_id, service)
);

-- The accounts of these keys, as an account may have very many keys.
CREATE TABLE service_account (
    service     text NOT NULL,
    account_id  text NOT NULL REFERENCES account ON DELETE CASCADE,
    PRIMARY KEY (account_id, service)
);

-- Fingerprints of the peppers, so that a service with a different one fails to start instead of refusing every key.
CREATE TABLE pepper (
    version      integer PRIMARY KEY,
    fingerprint  bytea NOT NULL,               -- HMAC-SHA256(pepper, a fixed text): reveals nothing about the pepper
    created_at   timestamptz NOT NULL DEFAULT now()
);

-- Addresses from which a key was used, so that new ones are noticed without reading its calls.
CREATE TABLE key_address (
    key_id      text NOT NULL REFERENCES key,
    ip          text NOT NULL,
    first_at    timestamptz NOT NULL,
    last_at     timestamptz NOT NULL,         -- updated at most once a day
    account_id  text NOT NULL,                -- the key's
    PRIMARY KEY (key_id, ip)
);
CREATE INDEX key_address_first ON key_address (key_id, first_at);
CREATE INDEX key_address_account ON key_address (account_id, first_at);
