-- Limits, their shared state, the outstanding leases, and the replicas that hold them.

-- A limit belongs to a plan, or to one key as a tighter limit. Its subject says whose usage it counts: all of the
-- account's keys together, or each key separately.
CREATE TABLE plan_limit (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    plan_id         text REFERENCES plan ON DELETE CASCADE,
    key_id          text REFERENCES key ON DELETE CASCADE,
    name            text NOT NULL,            -- rpm, monthly_requests: the name in headers, metrics and problems
    subject         text NOT NULL DEFAULT 'account' CHECK (subject IN ('account', 'key')),
    unit            text NOT NULL
                    CHECK (unit IN ('request', 'token', 'input_token', 'output_token', 'nanousd', 'weighted', 'concurrent')),
    unit_name       text,                     -- display name of a weighted unit
    weights         jsonb,                    -- its amount per request and per token, by kind of token
    amount          bigint NOT NULL CHECK (amount >= 0),
    window_s        integer CHECK (window_s BETWEEN 1 AND 86400),  -- a rate: amount units in any window_s seconds
    smooth          boolean NOT NULL DEFAULT false,                -- the rate flows evenly (GCRA)
    period          text                                           -- a quota: amount units per period
                    CHECK (period IN ('hour', 'day', 'week', 'month', 'quarter', 'year', 'lifetime')),
    anchor          date,                     -- a day on which a period starts; NULL: calendar periods
    zone            text,                     -- time zone of the periods, an IANA name; NULL: UTC
    per_tag         boolean NOT NULL DEFAULT false,                -- counts each tag separately
    route           text,                     -- counts only calls to this route template
    model           text,                     -- counts only calls to this model
    tool            text,                     -- counts only JSON-RPC calls of this tool
    output_default  integer CHECK (output_default > 0),            -- tokens reserved if a request declares no maximum
    credit_nanousd  bigint CHECK (credit_nanousd > 0),             -- value of a credit, if the amount is shown in credits
    when_unpriced   text NOT NULL DEFAULT 'admit' CHECK (when_unpriced IN ('admit', 'refuse')),
    when_down       text NOT NULL DEFAULT 'closed' CHECK (when_down IN ('closed', 'safe')),
    dry_run         boolean NOT NULL DEFAULT false,
    by_operator     boolean NOT NULL DEFAULT false,                -- only an operator can lift it
    CHECK (num_nonnulls(window_s, period) = CASE unit WHEN 'concurrent' THEN 0 ELSE 1 END),
    CHECK (anchor IS NULL OR (period IN ('week', 'month', 'quarter', 'year')) IS TRUE),
    CHECK (zone IS NULL OR (period IN ('day', 'week', 'month', 'quarter', 'year')) IS TRUE),
    CHECK (num_nonnulls(plan_id, key_id) = 1),
    CHECK (key_id IS NULL OR subject = 'key'),
    CHECK (NOT smooth OR window_s IS NOT NULL),
    CHECK (num_nonnulls(unit_name, weights) = CASE unit WHEN 'weighted' THEN 2 ELSE 0 END),
    CHECK (unit = 'nanousd' OR (credit_nanousd IS NULL AND when_unpriced = 'admit')),
    UNIQUE (plan_id, name),
    UNIQUE (key_id, name)
);

-- One row per limit and subject, and per tag if tags are counted separately. A sliding window's cells are the units
-- granted, newest last; each counts until its end plus one window. For GCRA, `head` is the time at which the bucket is
-- empty. A quota has one cell, the start of its period (unix seconds) as head, and the end of its period. Ends, GCRA heads
-- and stamps are in microseconds.
CREATE TABLE limit_state (
    id          text PRIMARY KEY,             -- '<plan_limit.id>:<account or key id>', plus ':<digest>' for a tag
    account_id  text NOT NULL,
    head        bigint NOT NULL DEFAULT 0,
    cells       bigint[] NOT NULL DEFAULT '{0}',
    ends        bigint[] NOT NULL DEFAULT '{}',
    clock       text NOT NULL DEFAULT '',     -- the clock of the stamps: one that a host's processes share
    stamps      bigint[] NOT NULL DEFAULT '{}', -- when a unit was spent; one per element of `ends`, 0 if unknown
    tags        integer NOT NULL DEFAULT 0,   -- number of tags with their own rows; this row is for calls without a tag
    base        text,                         -- for a tag's row: the id of the row for calls without a tag
    is_complete boolean NOT NULL DEFAULT false -- of a quota: it includes the period's use before the row was created
) WITH (fillfactor = 50);
CREATE INDEX limit_state_account ON limit_state (account_id);
CREATE INDEX limit_state_tag ON limit_state (base, id) WHERE base IS NOT NULL;

CREATE TABLE lease (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    state_id    text NOT NULL,
    replica     text NOT NULL,
    heartbeat   bigint NOT NULL,              -- the number of the replica's heartbeat that it was granted in
    bucket      bigint NOT NULL,              -- a quota's period, a sliding window's end, a GCRA head; concurrency: -1
    units       bigint NOT NULL,
    spent       bigint NOT NULL DEFAULT 0,    -- of these units, as last reported by the replica; concurrency: in use, all at first
    reserved    bigint NOT NULL DEFAULT 0,    -- of the spent units, by calls in progress, which may return them
    ends_at     timestamptz NOT NULL,
    closed      boolean NOT NULL DEFAULT false,  -- its units are spent, or reserved by calls in progress
    wanted_at   timestamptz                   -- when another replica was denied units for the first time
) WITH (fillfactor = 50);
CREATE INDEX lease_ends ON lease (ends_at);
CREATE INDEX lease_state ON lease (state_id);
CREATE INDEX lease_replica ON lease (replica, heartbeat);
CREATE INDEX lease_wanted ON lease (replica) WHERE wanted_at IS NOT NULL;

CREATE TABLE replica (
    id          text PRIMARY KEY,             -- one running process of the metered service
    service     text NOT NULL,
    host        text NOT NULL,
    version     text NOT NULL,
    mode        text NOT NULL,
    started_at  timestamptz NOT NULL,
    seen_at     timestamptz NOT NULL,
    heartbeat   bigint NOT NULL DEFAULT 0,    -- the number of its last heartbeat that requested units
    streams     jsonb NOT NULL DEFAULT '[]'   -- open streams by key when last seen: protocol.OpenStreams
) WITH (fillfactor = 50);

CREATE TABLE limit_replica (
    state_id    text NOT NULL,
    replica     text NOT NULL,                -- that requested units of this limit
    seen_at     timestamptz NOT NULL,
    PRIMARY KEY (state_id, replica)
) WITH (fillfactor = 50);
