-- Keys, what they may be used for, and their secrets.

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
    last_used_at  timestamptz,                -- moved by the ledger, never by the feed
    last_used_ip  text,
    last_used_route text,
    app             text,                          -- the program that uses it, in its owner's words
    scopes          text[] NOT NULL DEFAULT '{}',  -- told to the metered service, which gives them meaning
    routes          text[] NOT NULL DEFAULT '{}',  -- route templates it may call, '…*' for all that begin so; none: all
    networks        text[] NOT NULL DEFAULT '{}',  -- it may be used from, in CIDR; none: from everywhere
    models          text[] NOT NULL DEFAULT '{}',  -- as calls name them, '…*' for all that begin so; none: all
    tools           text[] NOT NULL DEFAULT '{}',  -- as calls by JSON-RPC name them, likewise
    rotate_every_days integer CHECK (rotate_every_days BETWEEN 1 AND 3650),  -- the portal reminds
    -- What an operator set, only an operator lifts.
    locked_status   boolean NOT NULL DEFAULT false,  -- disabled by an operator
    locked_terms    text[] NOT NULL DEFAULT '{}'     -- columns that an operator filled
) WITH (fillfactor = 70);
CREATE INDEX key_account_created ON key (account_id, created_at, id);
CREATE INDEX key_created ON key (created_at DESC, id);               -- for operators: every account
-- … by the beginning of a name or program, whatever the database's collation
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

-- Which service looked up which key: it reports usage of no other, spends no other's limits and hears of no other's changes.
-- A service is the name of its tokens; the environment's token is the service without a name.
CREATE TABLE told_key (
    service  text NOT NULL,
    key_id   text NOT NULL REFERENCES key ON DELETE CASCADE,
    PRIMARY KEY (key_id, service)
);

-- … and thereby which accounts, whose keys may be very many.
CREATE TABLE told_account (
    service     text NOT NULL,
    account_id  text NOT NULL REFERENCES account ON DELETE CASCADE,
    PRIMARY KEY (account_id, service)
);

-- What the peppers are known by, so that a service with another one says so instead of refusing every key.
CREATE TABLE pepper (
    version      integer PRIMARY KEY,
    fingerprint  bytea NOT NULL,               -- HMAC-SHA256(pepper, a fixed text): tells nothing of the pepper
    created_at   timestamptz NOT NULL DEFAULT now()
);

-- From which addresses a key was used, so that a new one is noticed without reading its calls.
CREATE TABLE key_address (
    key_id      text NOT NULL REFERENCES key,
    ip          text NOT NULL,
    first_at    timestamptz NOT NULL,
    last_at     timestamptz NOT NULL,         -- moved once a day at most
    account_id  text NOT NULL,                -- the key's
    PRIMARY KEY (key_id, ip)
);
CREATE INDEX key_address_first ON key_address (key_id, first_at);
CREATE INDEX key_address_account ON key_address (account_id, first_at);
