-- Plans, accounts, members, sessions, and the tokens of services, operators, Prometheus and accounts.

CREATE TABLE plan (
    id          text PRIMARY KEY,             -- a slug: free, pro, vip
    name        text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    monthly_nanousd bigint CHECK (monthly_nanousd >= 0), -- price per month; NULL: usage only
    providers   text[] NOT NULL DEFAULT '{}',            -- which provider answers on a route: /v1/chat/*=deepseek
    prorated    boolean NOT NULL DEFAULT false,          -- billed by the day; else the plan at month end is billed in full
    self_service boolean NOT NULL DEFAULT false,         -- owners can move to and from it in the portal
    CHECK (prorated OR NOT self_service)
);

CREATE TABLE account (
    id          text PRIMARY KEY,             -- 12 characters, base62
    name        text NOT NULL,
    plan_id     text NOT NULL REFERENCES plan,
    status      text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- Portal users. An e-mail address may be a member of many accounts, each with its own password.
CREATE TABLE member (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id     text REFERENCES account,   -- NULL: an operator, who sees every account
    email          text NOT NULL,
    role           text NOT NULL DEFAULT 'owner' CHECK (role IN ('owner', 'member', 'viewer', 'operator')),
    password_hash  text NOT NULL,             -- argon2id
    created_at     timestamptz NOT NULL DEFAULT now(),
    is_verified    boolean NOT NULL DEFAULT false,  -- address given by an operator, or confirmed by single sign-on
    CHECK ((account_id IS NULL) = (role = 'operator'))
);
CREATE UNIQUE INDEX member_email ON member (email, coalesce(account_id, ''));

-- A member's formats for times and numbers; NULL: the browser's.
CREATE TABLE member_preference (
    member_id  bigint PRIMARY KEY REFERENCES member ON DELETE CASCADE,
    zone       text,
    locale     text,
    hours      integer CHECK (hours IN (12, 24)), -- 12- or 24-hour clock; NULL: the locale's
    language   text
);

-- Alerts on the overview that a member has dismissed.
CREATE TABLE dismissed_alert (
    member_id  bigint NOT NULL REFERENCES member ON DELETE CASCADE,
    name       text NOT NULL,
    at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (member_id, name)
);
CREATE INDEX dismissed_alert_at ON dismissed_alert (at);

CREATE TABLE session (
    hash        bytea PRIMARY KEY,            -- SHA-256 of the cookie
    member_id   bigint NOT NULL REFERENCES member ON DELETE CASCADE,
    csrf_token  text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    ends_at     timestamptz NOT NULL,
    account_id  text REFERENCES account       -- that an operator is viewing
);

-- Forms that can be submitted once, so that reloading the page of a new key does not create another.
CREATE TABLE spent_form (
    session_hash  bytea NOT NULL REFERENCES session ON DELETE CASCADE,
    form_id       text NOT NULL,
    PRIMARY KEY (session_hash, form_id)
);

-- Failed sign-ins, to slow down guessing; rows older than the window are deleted as they are found.
CREATE TABLE sign_in_failure (
    email       text NOT NULL,
    ip          text NOT NULL,
    at          timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX sign_in_failure_email ON sign_in_failure (email, at);
CREATE INDEX sign_in_failure_ip ON sign_in_failure (ip, at);
CREATE INDEX sign_in_failure_at ON sign_in_failure (at);

-- One-time invitation links, for use without e-mail delivery.
CREATE TABLE invitation (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash        bytea NOT NULL UNIQUE,        -- SHA-256 of the link's secret
    account_id  text REFERENCES account,      -- NULL: for an operator
    email       text NOT NULL,
    role        text NOT NULL CHECK (role IN ('owner', 'member', 'viewer', 'operator')),
    created_by  text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    ends_at     timestamptz NOT NULL,
    CHECK ((account_id IS NULL) = (role = 'operator'))
);
CREATE INDEX invitation_account ON invitation (account_id);

-- Bearer tokens in addition to the environment's two: for services, operators, Prometheus and accounts, each with a name
-- and individually revocable.
CREATE TABLE token (
    id            text PRIMARY KEY,           -- 12 characters, base62
    kind          text NOT NULL CHECK (kind IN ('service', 'admin', 'metrics', 'account')),
    account_id    text REFERENCES account,    -- the only account that a token of this kind can access
    name          text NOT NULL,              -- of the service or actor; several tokens may share it
    scope         text NOT NULL DEFAULT 'all' CHECK (scope IN ('read', 'keys', 'billing', 'all', 'manage')),
    hash          bytea NOT NULL UNIQUE,      -- SHA-256 of 256 random bits
    created_at    timestamptz NOT NULL DEFAULT now(),
    created_by    text NOT NULL,
    expires_at    timestamptz,
    revoked_at    timestamptz,
    last_used_at  timestamptz,                -- accurate to a minute
    CHECK ((kind = 'account') = (account_id IS NOT NULL)),
    CHECK (CASE kind WHEN 'admin' THEN scope <> 'manage' WHEN 'account' THEN scope IN ('read', 'manage')
           ELSE scope = 'all' END)
);
CREATE INDEX token_account ON token (account_id, id);
