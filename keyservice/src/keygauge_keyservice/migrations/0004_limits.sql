-- Limits, the shared side of them, the leases that are out, and the replicas that hold them.

-- A limit belongs to a plan, or to one key as a tighter one of its own. Its subject says whose use it counts: all of the
-- account's keys together or each key by itself.
CREATE TABLE plan_limit (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    plan_id         text REFERENCES plan ON DELETE CASCADE,
    key_id          text REFERENCES key ON DELETE CASCADE,
    name            text NOT NULL,            -- rpm, monthly_requests: the name in headers, metrics and problems
    subject         text NOT NULL DEFAULT 'account' CHECK (subject IN ('account', 'key')),
    unit            text NOT NULL CHECK (unit IN ('request', 'token', 'nanousd', 'concurrent')),
    amount          bigint NOT NULL CHECK (amount >= 0),
    window_s        integer CHECK (window_s BETWEEN 1 AND 86400),  -- a rate: amount units in any window_s seconds
    smooth          boolean NOT NULL DEFAULT false,                -- … at an even pace
    period          text CHECK (period IN ('day', 'month')),       -- a budget: amount units per UTC day or month
    route           text,                     -- counts the calls of this route template only
    model           text,                     -- … of this model only
    output_default  integer CHECK (output_default > 0),            -- tokens reserved where a request declares no cap
    credit_nanousd  bigint CHECK (credit_nanousd > 0),             -- people see the amount in credits of so much
    when_unpriced   text NOT NULL DEFAULT 'admit' CHECK (when_unpriced IN ('admit', 'refuse')),
    when_down       text NOT NULL DEFAULT 'closed' CHECK (when_down IN ('closed', 'safe')),
    dry_run         boolean NOT NULL DEFAULT false,
    by_operator     boolean NOT NULL DEFAULT false,                -- only an operator lifts it
    CHECK (num_nonnulls(window_s, period) = CASE unit WHEN 'concurrent' THEN 0 ELSE 1 END),
    CHECK (num_nonnulls(plan_id, key_id) = 1),
    CHECK (key_id IS NULL OR subject = 'key'),
    CHECK (NOT smooth OR window_s IS NOT NULL),
    CHECK (unit = 'nanousd' OR (credit_nanousd IS NULL AND when_unpriced = 'admit')),
    UNIQUE (plan_id, name),
    UNIQUE (key_id, name)
);

-- One row per limit and subject. A rate's cells are the units given, newest last; each counts until its end and one window
-- more. A rate at an even pace has as head when its bucket is empty. A budget has one cell, and as head its period's first
-- instant (unix seconds). Ends, heads of flows and stamps are microseconds.
CREATE TABLE limit_state (
    id          text PRIMARY KEY,             -- '<plan_limit.id>:<account or key id>'
    account_id  text NOT NULL,
    head        bigint NOT NULL DEFAULT 0,
    cells       bigint[] NOT NULL DEFAULT '{0}',
    ends        bigint[] NOT NULL DEFAULT '{}',
    clock       text NOT NULL DEFAULT '',     -- whose readings the stamps are: a clock that one host's processes share
    stamps      bigint[] NOT NULL DEFAULT '{}'  -- when a unit was spent; one for each of the ends, 0 where it is not known
) WITH (fillfactor = 50);

CREATE TABLE lease (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    state_id    text NOT NULL,
    replica     text NOT NULL,
    bucket      bigint NOT NULL,              -- a budget's period, a rate's end, a flow's head; concurrent requests: -1
    units       bigint NOT NULL,
    spent       bigint NOT NULL DEFAULT 0,    -- of these, as the replica told last
    ends_at     timestamptz NOT NULL,
    closed      boolean NOT NULL DEFAULT false,  -- its units are reserved by calls under way, or spent
    wanted_at   timestamptz                   -- when another replica was denied units for the first time
) WITH (fillfactor = 50);
CREATE INDEX lease_ends ON lease (ends_at);
CREATE INDEX lease_state ON lease (state_id);
CREATE INDEX lease_wanted ON lease (replica) WHERE wanted_at IS NOT NULL;

CREATE TABLE replica (
    id          text PRIMARY KEY,             -- one process of the metered service, as long as it lives
    service     text NOT NULL,
    host        text NOT NULL,
    version     text NOT NULL,
    mode        text NOT NULL,
    started_at  timestamptz NOT NULL,
    seen_at     timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE limit_replica (
    state_id    text NOT NULL,
    replica     text NOT NULL,                -- asked for units of this limit
    seen_at     timestamptz NOT NULL,
    PRIMARY KEY (state_id, replica)
) WITH (fillfactor = 50);
