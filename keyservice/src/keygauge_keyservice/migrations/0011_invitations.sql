-- One-time links by which people get in without mail, and the account that an operator looks at.

CREATE TABLE invitation (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash        bytea NOT NULL UNIQUE,        -- SHA-256 of the link's secret
    account_id  text REFERENCES account,      -- NULL: of an operator
    email       text NOT NULL,
    role        text NOT NULL CHECK (role IN ('owner', 'member', 'viewer', 'operator')),
    created_by  text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    ends_at     timestamptz NOT NULL,
    CHECK ((account_id IS NULL) = (role = 'operator'))
);
CREATE INDEX invitation_account ON invitation (account_id);

ALTER TABLE session ADD COLUMN account_id text REFERENCES account;
