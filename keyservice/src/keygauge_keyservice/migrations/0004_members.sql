-- Who may sign in to the portal.

CREATE TABLE member (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id     text REFERENCES account,   -- NULL: an operator, who sees every account
    email          text NOT NULL UNIQUE,
    role           text NOT NULL DEFAULT 'owner' CHECK (role IN ('owner', 'member', 'viewer', 'operator')),
    password_hash  text NOT NULL,             -- argon2id
    created_at     timestamptz NOT NULL DEFAULT now(),
    CHECK ((account_id IS NULL) = (role = 'operator'))
);

CREATE TABLE session (
    hash        bytea PRIMARY KEY,            -- SHA-256 of the cookie
    member_id   bigint NOT NULL REFERENCES member ON DELETE CASCADE,
    csrf_token  text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    ends_at     timestamptz NOT NULL
);

-- Forms that work once, so that reloading the page of a new key does not make another.
CREATE TABLE spent_form (
    session_hash  bytea NOT NULL REFERENCES session ON DELETE CASCADE,
    form_id       text NOT NULL,
    PRIMARY KEY (session_hash, form_id)
);

-- Failed sign-ins, to slow guessing; rows older than the window are deleted as they are met.
CREATE TABLE sign_in_failure (
    email       text NOT NULL,
    ip          text NOT NULL,
    at          timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX sign_in_failure_email ON sign_in_failure (email, at);
CREATE INDEX sign_in_failure_ip ON sign_in_failure (ip, at);
CREATE INDEX sign_in_failure_at ON sign_in_failure (at);
