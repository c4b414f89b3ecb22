-- Changes: the feed for replicas, and the audit log for people.

-- The change feed, numbered in commit order: writers hold an advisory transaction lock while they take a number. A changed
-- plan is one entry, regardless of how many keys use it.
CREATE TABLE key_change (
    number      bigint PRIMARY KEY,
    key_id      text,
    plan_id     text,
    at          timestamptz NOT NULL DEFAULT now(),
    CHECK (num_nonnulls(key_id, plan_id) = 1)
);

-- The audit log: who changed what; append-only, without secrets.
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
CREATE INDEX audit_account_group ON audit (account_id, split_part(action, '.', 1), id);  -- events may be rare
