-- Limits, the shared side of them, the leases that are out, and the replicas that hold them.

-- A limit belongs to a plan, or to one key as a tighter one of its own. Its subject says whose use it counts: all of the
-- account's keys together or each key by itself.
CREATE TABLE plan_limit (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    plan_id         text REFERENCES plan ON DELETE CASCADE,
    key_id          text REFERENCES key ON DELETE CASCADE,
    name            text NOT NULL,            -- rpm, monthly_requests: the name in headers, metrics and problems
    subject         text NOT NULL DEFAULT 'account' CHECK (subject IN ('account', 'key')),
    unit            text NOT NULL
                    CHECK (unit IN ('request', 'token', 'input_token', 'output_token', 'nanousd', 'weighted', 'concurrent')),
    unit_name       text,                     -- of a weighted unit: what people call it
    weights         jsonb,                    -- … and how many of it each request and each token are, by kinds of tokens
    amount          bigint NOT NULL CHECK (amount >= 0),
    window_s        integer CHECK (window_s BETWEEN 1 AND 86400),  -- a rate: amount units in any window_s seconds
    smooth          boolean NOT NULL DEFAULT false,                -- … at an even pace
    period          text                                           -- a quota: amount units per period
                    CHECK (period IN ('hour', 'day', 'week', 'month', 'quarter', 'year', 'lifetime')),
    anchor          date,                     -- a day on which a period begins; NULL: as on the calendar
    zone            text,                     -- whose days periods begin with, an IANA name; NULL: UTC's
    per_tag         boolean NOT NULL DEFAULT false,                -- counts each tag of calls apart
    route           text,                     -- counts the calls of this route template only
    model           text,                     -- … of this model only
    tool            text,                     -- … by JSON-RPC of this tool only
    output_default  integer CHECK (output_default > 0),            -- tokens reserved where a request declares no cap
    credit_nanousd  bigint CHECK (credit_nanousd > 0),             -- people see the amount in credits of so much
    when_unpriced   text NOT NULL DEFAULT 'admit' CHECK (when_unpriced IN ('admit', 'refuse')),
    when_down       text NOT NULL DEFAULT 'closed' CHECK (when_down IN ('closed', 'safe')),
    dry_run         boolean NOT NULL DEFAULT false,
    by_operator     boolean NOT NULL DEFAULT false,                -- only an operator lifts it
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

-- One row per limit and subject, and one for each tag where those count apart. A rate's cells are the units given, newest
-- last; each counts until its end and one window more. A rate at an even pace has as head when its bucket is empty. A
-- budget has one cell, as head its period's first instant (unix seconds), and the period's end. Ends, heads of flows and
-- stamps are microseconds.
CREATE TABLE limit_state (
    id          text PRIMARY KEY,             -- '<plan_limit.id>:<account or key id>', of a tag ':<digest>' besides
    account_id  text NOT NULL,
    head        bigint NOT NULL DEFAULT 0,
    cells       bigint[] NOT NULL DEFAULT '{0}',
    ends        bigint[] NOT NULL DEFAULT '{}',
    clock       text NOT NULL DEFAULT '',     -- whose readings the stamps are: a clock that one host's processes share
    stamps      bigint[] NOT NULL DEFAULT '{}', -- when a unit was spent; one for each of the ends, 0 where it is not known
    tags        integer NOT NULL DEFAULT 0,   -- that have rows of their own; this one is for calls without a tag
    base        text                          -- of a tag's: the id of the row for calls without one
) WITH (fillfactor = 50);
CREATE INDEX limit_state_account ON limit_state (account_id);
CREATE INDEX limit_state_tag ON limit_state (base, id) WHERE base IS NOT NULL;

CREATE TABLE lease (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    state_id    text NOT NULL,
    replica     text NOT NULL,
    heartbeat   bigint NOT NULL,              -- the number of the replica's heartbeat that it answers
    bucket      bigint NOT NULL,              -- a budget's period, a rate's end, a flow's head; concurrent requests: -1
    units       bigint NOT NULL,
    spent       bigint NOT NULL DEFAULT 0,    -- of these, as the replica told last
    reserved    bigint NOT NULL DEFAULT 0,    -- … and of those, by calls under way: they may come back
    ends_at     timestamptz NOT NULL,
    closed      boolean NOT NULL DEFAULT false,  -- its units are reserved by calls under way, or spent
    wanted_at   timestamptz                   -- when another replica was denied units for the first time
) WITH (fillfactor = 50);
CREATE INDEX lease_ends ON lease (ends_at);
CREATE INDEX lease_state ON lease (state_id);
CREATE INDEX lease_replica ON lease (replica, heartbeat);
CREATE INDEX lease_wanted ON lease (replica) WHERE wanted_at IS NOT NULL;

CREATE TABLE replica (
    id          text PRIMARY KEY,             -- one process of the metered service, as long as it lives
    service     text NOT NULL,
    host        text NOT NULL,
    version     text NOT NULL,
    mode        text NOT NULL,
    started_at  timestamptz NOT NULL,
    seen_at     timestamptz NOT NULL,
    streams     jsonb NOT NULL DEFAULT '[]'   -- open ones by key, when it was seen last: protocol.OpenStreams
) WITH (fillfactor = 50);

CREATE TABLE limit_replica (
    state_id    text NOT NULL,
    replica     text NOT NULL,                -- asked for units of this limit
    seen_at     timestamptz NOT NULL,
    PRIMARY KEY (state_id, replica)
) WITH (fillfactor = 50);
