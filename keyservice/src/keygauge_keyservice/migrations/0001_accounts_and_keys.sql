-- Accounts, plans, keys and their secrets, and the feed that carries changes of keys to the replicas.

CREATE TABLE plan (
    id          text PRIMARY KEY,             -- a slug: free, pro, vip
    name        text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE account (
    id          text PRIMARY KEY,             -- 12 characters, base62
    name        text NOT NULL,
    plan_id     text NOT NULL REFERENCES plan,
    status      text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- A limit of a plan; its subject says whose use it counts: all of the account's keys together or each key by itself.
CREATE TABLE plan_limit (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    plan_id     text NOT NULL REFERENCES plan ON DELETE CASCADE,
    name        text NOT NULL,                -- rpm, monthly_requests: the name in headers, metrics and problems
    subject     text NOT NULL DEFAULT 'account' CHECK (subject IN ('account', 'key')),
    unit        text NOT NULL CHECK (unit IN ('request', 'token', 'nanousd', 'concurrent')),
    amount      bigint NOT NULL CHECK (amount >= 0),
    window_s    integer CHECK (window_s BETWEEN 1 AND 86400),   -- a rate: amount units in any window_s seconds
    period      text CHECK (period IN ('day', 'month')),        -- a budget: amount units per UTC day or month
    when_down   text NOT NULL DEFAULT 'closed' CHECK (when_down IN ('closed', 'safe')),
    dry_run     boolean NOT NULL DEFAULT false,
    CHECK (num_nonnulls(window_s, period) = CASE unit WHEN 'concurrent' THEN 0 ELSE 1 END),
    UNIQUE (plan_id, name)
);

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
    last_used_route text
) WITH (fillfactor = 70);
CREATE INDEX key_account ON key (account_id, created_at);

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

-- The change feed. Numbered in commit order: writers hold an advisory transaction lock while they take a number.
CREATE TABLE key_change (
    number      bigint PRIMARY KEY,
    key_id      text NOT NULL,
    at          timestamptz NOT NULL DEFAULT now()
);

-- What was done by whom; append-only, never a secret.
CREATE TABLE audit (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    account_id  text,
    actor       text NOT NULL,                -- operator, or the member's e-mail
    action      text NOT NULL,                -- key.create, key.disable, plan.change, …
    subject     text NOT NULL,                -- the id acted on
    before      jsonb,
    after       jsonb
);
CREATE INDEX audit_account ON audit (account_id, id);
