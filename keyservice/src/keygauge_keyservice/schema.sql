-- All tables, views and functions in one file, for reading. What the service applies are the files in migrations/; a test holds
-- this one equal to what they make.

-- Plans, accounts, who may sign in, and the tokens of services, operators and Prometheus.

CREATE TABLE plan (
    id          text PRIMARY KEY,             -- a slug: free, pro, vip
    name        text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    monthly_nanousd bigint CHECK (monthly_nanousd >= 0), -- what it costs a month; NULL: nothing but the usage
    providers   text[] NOT NULL DEFAULT '{}',            -- whose answers a route gives: /v1/chat/*=deepseek
    prorated    boolean NOT NULL DEFAULT false           -- billed by the day; else the plan at month end, whole
);

CREATE TABLE account (
    id          text PRIMARY KEY,             -- 12 characters, base62
    name        text NOT NULL,
    plan_id     text NOT NULL REFERENCES plan,
    status      text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- Who may sign in to the portal. An address may be a member of many accounts, each with a password of its own.
CREATE TABLE member (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id     text REFERENCES account,   -- NULL: an operator, who sees every account
    email          text NOT NULL,
    role           text NOT NULL DEFAULT 'owner' CHECK (role IN ('owner', 'member', 'viewer', 'operator')),
    password_hash  text NOT NULL,             -- argon2id
    created_at     timestamptz NOT NULL DEFAULT now(),
    is_verified    boolean NOT NULL DEFAULT false,  -- an operator gave the address, or the sign-on's provider vouched for it
    CHECK ((account_id IS NULL) = (role = 'operator'))
);
CREATE UNIQUE INDEX member_email ON member (email, coalesce(account_id, ''));

-- How a member wants the portal to write times and numbers; NULL: as the browser asks.
CREATE TABLE member_preference (
    member_id  bigint PRIMARY KEY REFERENCES member ON DELETE CASCADE,
    zone       text,
    locale     text,
    hours      integer CHECK (hours IN (12, 24)), -- of a clock; NULL: as the format has it
    language   text                               -- of texts
);

-- What a member has read on the overview and does not want to see again.
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
    account_id  text REFERENCES account       -- that an operator looks at
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

-- One-time links by which people get in without mail.
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

-- Bearer tokens beside the two of the environment: of services, operators, Prometheus and accounts, each named, and
-- revoked by itself.
CREATE TABLE token (
    id            text PRIMARY KEY,           -- 12 characters, base62
    kind          text NOT NULL CHECK (kind IN ('service', 'admin', 'metrics', 'account')),
    account_id    text REFERENCES account,    -- of an account: it reaches nothing else
    name          text NOT NULL,              -- of the service, or of who or what acts; many tokens may share it
    scope         text NOT NULL DEFAULT 'all' CHECK (scope IN ('read', 'keys', 'billing', 'all', 'manage')),
    hash          bytea NOT NULL UNIQUE,      -- SHA-256 of 256 random bits
    created_at    timestamptz NOT NULL DEFAULT now(),
    created_by    text NOT NULL,
    expires_at    timestamptz,
    revoked_at    timestamptz,
    last_used_at  timestamptz,                -- within a minute
    CHECK ((kind = 'account') = (account_id IS NOT NULL)),
    CHECK (CASE kind WHEN 'admin' THEN scope <> 'manage' WHEN 'account' THEN scope IN ('read', 'manage')
           ELSE scope = 'all' END)
);
CREATE INDEX token_account ON token (account_id, id);

-- What changed: for the replicas, and for people.

-- The change feed. Numbered in commit order: writers hold an advisory transaction lock while they take a number. A changed
-- plan is one entry, however many keys use it.
CREATE TABLE key_change (
    number      bigint PRIMARY KEY,
    key_id      text,
    plan_id     text,
    at          timestamptz NOT NULL DEFAULT now(),
    CHECK (num_nonnulls(key_id, plan_id) = 1)
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

-- The usage ledger: events as they happened, each spool's cursor, roll-ups, and the comparison with what was counted.

CREATE TABLE spool (
    id          text PRIMARY KEY,             -- one per process of the metered service
    next        bigint NOT NULL,              -- the number of the first event not yet in the ledger
    updated_at  timestamptz NOT NULL,
    owner       text,                         -- the spool of the process that sent the last batch: itself, or who adopted it
    token_name  text,                         -- of the service whose token opened it; NULL: the environment's
    replica     text,
    service     text,
    host        text,
    reported_at timestamptz                   -- when its process last told its counts; NULL: it never did
) WITH (fillfactor = 50);

CREATE TABLE event (
    id                  uuid NOT NULL,        -- version 7, made of the event's time, spool and number
    time                timestamptz NOT NULL, -- when the request arrived
    account_id          text NOT NULL,
    key_id              text NOT NULL,
    route               text NOT NULL,        -- the template, '_unmatched' where there is none
    method              text NOT NULL,
    status              smallint NOT NULL,    -- as sent; 499 where the client left before an answer began
    error               text,                 -- error.type: an exception's class or a refusal's code
    ip                  text,
    duration_us         bigint NOT NULL,
    first_token_us      bigint,
    request_bytes       bigint NOT NULL,
    response_bytes      bigint NOT NULL,
    stream              text,                 -- sse, websocket, or NULL
    messages            bigint NOT NULL DEFAULT 0,
    model               text,                 -- that it counts for: as the answer named it, or the one whose answer it asked for
    provider            text,
    input_tokens        bigint,               -- cached ones included; NULL is unknown, not 0
    output_tokens       bigint,               -- reasoning included
    cache_read_tokens   bigint,
    cache_write_tokens  bigint,
    reasoning_tokens    bigint,
    usage_status        text NOT NULL CHECK (usage_status IN ('reported', 'partial', 'estimated', 'none')),
    cost_nanousd        bigint,
    price_version       text,
    outcome             text NOT NULL,        -- admitted, limited, quota, revoked, expired, forbidden, unavailable
    limit_name          text,
    trace_id            text,
    details             jsonb,                -- kinds of use beyond the five counts of tokens; NULL for nearly every call
    requested_model     text,                 -- as the request named it
    tag                 text,                 -- the end user that its caller named
    kind_costs          numeric               -- of the cost, what is not plain input's, by kind: see the roll-ups; NULL: nothing
) PARTITION BY RANGE (time);
-- In the order in which calls come: an index that grows at its end takes a quarter less space, and is read backwards as fast.
CREATE INDEX event_account_time ON event (account_id, time, id);
CREATE INDEX event_key_time ON event (key_id, time, id);  -- the call log of one key, however rare its calls are

-- The months of the ledger, made and dropped with the rights of the tables' owner, so that the service needs none of its own.
-- Who may call these is said by grants alone: see roles.sql.

CREATE FUNCTION make_event_month(month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    first date := date_trunc('month', month)::date;
    name text := 'event_' || to_char(first, 'YYYY_MM');
BEGIN
    -- Made first and attached after: that waits for no reader and no writer of the other months.
    EXECUTE format('CREATE TABLE %I (LIKE event INCLUDING ALL)', name);
    EXECUTE format(
        'ALTER TABLE event ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        name, first || ' 00:00+00', (first + interval '1 month')::date || ' 00:00+00'
    );
END
$$;

CREATE FUNCTION drop_event_month(month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    EXECUTE format('DROP TABLE IF EXISTS %I', 'event_' || to_char(month, 'YYYY_MM'));
END
$$;

REVOKE EXECUTE ON FUNCTION make_event_month, drop_event_month FROM PUBLIC;

-- The roll-ups: 15 minutes UTC x account x key x route x model x status class. Batches add to rows of their own for each quarter
-- of an hour; half a day that is over is packed. Nobody reads these two tables: the view `rollup` is both.
CREATE TABLE rollup_recent (
    bucket              timestamptz NOT NULL,
    account_id          text NOT NULL,
    key_id              text NOT NULL,
    route               text NOT NULL,
    model               text NOT NULL,        -- '' where the call had none
    status_class        smallint NOT NULL,    -- 2, 3, 4, 5
    requests            bigint NOT NULL,
    limited             bigint NOT NULL,      -- refused by a rate or a quota
    input_tokens        bigint NOT NULL,
    output_tokens       bigint NOT NULL,
    cache_read_tokens   bigint NOT NULL,
    cache_write_tokens  bigint NOT NULL,
    reasoning_tokens    bigint NOT NULL,
    request_bytes       bigint NOT NULL,
    response_bytes      bigint NOT NULL,
    cost_nanousd        bigint NOT NULL,
    duration_us         bigint NOT NULL,      -- the sum
    -- Calls per bucket of keygauge.metrics.DURATION_BUCKETS_S, the last is +Inf: twelve digits each, the first bucket's last. Two
    -- histograms are added as numbers, and most of their digits are zeros that take no room: a single call's takes five bytes.
    durations           numeric NOT NULL,
    -- What each kind cost, in twenty digits each, in the order of keygauge.kinds.CHARGED from its second on, that one's last. Plain
    -- input, the first, is what these leave of the cost. Most kinds cost nothing and take no room.
    kind_costs          numeric NOT NULL DEFAULT 0,
    PRIMARY KEY (account_id, bucket, key_id, route, model, status_class)
) WITH (fillfactor = 90);
CREATE INDEX rollup_recent_bucket ON rollup_recent (bucket, account_id, key_id);  -- by key too, which is in few rows of a bucket

-- Half a day of UTC in one row for each key, route, model and status class, in two fifths of the space. What came late, or changed
-- by re-rating, is among the recent ones until the half day is packed again: the sums of both count.
CREATE TABLE rollup_packed (
    account_id          text NOT NULL,
    half_day            timestamptz NOT NULL, -- its first moment
    key_id              text NOT NULL,
    route               text NOT NULL,
    model               text NOT NULL,
    status_class        smallint NOT NULL,
    quarters            smallint[] NOT NULL,  -- of an hour that have calls, 0 to 47 and in no order; the sums of each follow
    requests            bigint[],             -- here and below: NULL for 0, also where all are
    limited             bigint[],
    input_tokens        bigint[],
    output_tokens       bigint[],
    cache_read_tokens   bigint[],
    cache_write_tokens  bigint[],
    reasoning_tokens    bigint[],
    request_bytes       bigint[],
    response_bytes      bigint[],
    cost_nanousd        bigint[],
    duration_us         bigint[],
    durations           numeric[],
    kind_costs          numeric[],
    PRIMARY KEY (account_id, half_day, key_id, route, model, status_class)
);
CREATE INDEX rollup_packed_half_day ON rollup_packed (half_day);  -- for operators: every account

-- Whoever asks for some buckets asks for their half days too: those are found by an index.
CREATE VIEW rollup AS
SELECT date_bin('12 hours', bucket, 'epoch') AS half_day, rollup_recent.* FROM rollup_recent
UNION ALL
SELECT half_day, half_day + quarter * interval '15 minutes', account_id, key_id, route, model, status_class,
       coalesce(requests[place], 0), coalesce(limited[place], 0), coalesce(input_tokens[place], 0), coalesce(output_tokens[place], 0),
       coalesce(cache_read_tokens[place], 0), coalesce(cache_write_tokens[place], 0), coalesce(reasoning_tokens[place], 0),
       coalesce(request_bytes[place], 0), coalesce(response_bytes[place], 0), coalesce(cost_nanousd[place], 0),
       coalesce(duration_us[place], 0), coalesce(durations[place], 0), coalesce(kind_costs[place], 0)
FROM rollup_packed CROSS JOIN LATERAL unnest(quarters) WITH ORDINALITY AS part (quarter, place);

-- What each process says that it counted, beside what the ledger took of it, by hour of UTC.
CREATE TABLE spool_hour (
    spool_id                text NOT NULL,
    hour                    timestamptz NOT NULL,
    requests                bigint NOT NULL DEFAULT 0,    -- of the events taken
    input_tokens            bigint NOT NULL DEFAULT 0,
    output_tokens           bigint NOT NULL DEFAULT 0,
    taken_at                timestamptz,                  -- when such events came last
    reported_requests       bigint NOT NULL DEFAULT 0,    -- as its process counted
    reported_input_tokens   bigint NOT NULL DEFAULT 0,
    reported_output_tokens  bigint NOT NULL DEFAULT 0,
    reported_at             timestamptz,                  -- when these last changed
    written                 bigint NOT NULL DEFAULT 0,    -- the number of the spool's next event when they did
    PRIMARY KEY (spool_id, hour)
) WITH (fillfactor = 50);
CREATE INDEX spool_hour_hour ON spool_hour (hour);

-- Both sides of each process and hour. What a report counts and the spool still holds is waiting, for a day at most. What the
-- ledger has beyond the last report of its process is no surplus: a process that is killed tells no last figures.
CREATE VIEW spool_balance AS
SELECT spool_id, service, host, replica, hour, reported_requests, requests, reported_input_tokens, input_tokens,
       reported_output_tokens, output_tokens, greatest(taken_at, compared.reported_at) AS changed_at,
       CASE WHEN NOT has_arrived THEN less_requests ELSE 0 END AS waiting_requests,
       CASE WHEN has_arrived THEN less_requests ELSE 0 END AS missing_requests,
       CASE WHEN has_arrived THEN less_tokens ELSE 0 END AS missing_tokens,
       CASE WHEN has_reported_since THEN more_requests ELSE 0 END AS surplus_requests,
       CASE WHEN has_reported_since THEN more_tokens ELSE 0 END AS surplus_tokens
FROM (
    SELECT both_sides.*, spool.service, spool.host, spool.replica,
           spool.next >= written OR both_sides.reported_at < now() - interval '1 day' AS has_arrived,
           spool.reported_at > coalesce(taken_at, '-infinity') AS has_reported_since,
           greatest(reported_requests - requests, 0) AS less_requests,
           greatest(reported_input_tokens - input_tokens, 0)
               + greatest(reported_output_tokens - output_tokens, 0) AS less_tokens,
           greatest(requests - reported_requests, 0) AS more_requests,
           greatest(input_tokens - reported_input_tokens, 0)
               + greatest(output_tokens - reported_output_tokens, 0) AS more_tokens
    FROM spool_hour AS both_sides JOIN spool ON spool.id = spool_id
    WHERE spool.reported_at IS NOT NULL
) AS compared;

-- The newest comparison, for /metrics; one row.
CREATE TABLE ledger_check (
    is_newest           boolean PRIMARY KEY DEFAULT true CHECK (is_newest),
    at                  timestamptz NOT NULL,
    requests            bigint NOT NULL,      -- reported in the hours compared
    missing_requests    bigint NOT NULL,
    missing_tokens      bigint NOT NULL,
    surplus_requests    bigint NOT NULL,
    surplus_tokens      bigint NOT NULL
) WITH (fillfactor = 50);

-- Events that the ledger did not take, with the reason; an operator may have them taken.
CREATE TABLE event_aside (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    spool_id  text NOT NULL,
    number    bigint NOT NULL,                -- in its spool
    service   text NOT NULL,                  -- whose token brought it
    reason    text NOT NULL,
    key_id    text,                           -- as the event says, where it can be read
    line      bytea NOT NULL
);

-- Sums of the roll-ups by one dimension, or by one within another, in buckets of four lengths. A page reads a few rows of
-- each length, however long its range and however many combinations of key, route, model and status there are. Keys have no
-- quarters of an hour: those were two of three rows, and the roll-ups hold few rows of each key in so short a time.

CREATE TABLE usage_aggregate (
    account_id          text NOT NULL,
    length_s            integer NOT NULL CHECK (length_s IN (900, 7200, 86400, 604800)),
    breakdown           text NOT NULL,        -- key, route, model, status; for days key>model and so on, too
    inside              text NOT NULL,        -- the name before the >, '' where there is none
    bucket              timestamptz NOT NULL, -- its first moment, a multiple of its length since 1970 UTC
    part                text NOT NULL,        -- the name after it: a key, a route, a model or '', 2xx to 5xx
    requests            bigint NOT NULL,
    limited             bigint NOT NULL,
    client_errors       bigint NOT NULL,      -- answers of 400 to 499 that no limit caused
    server_errors       bigint NOT NULL,
    input_tokens        bigint NOT NULL,
    output_tokens       bigint NOT NULL,
    cache_read_tokens   bigint NOT NULL,
    cache_write_tokens  bigint NOT NULL,
    reasoning_tokens    bigint NOT NULL,
    request_bytes       bigint NOT NULL,
    response_bytes      bigint NOT NULL,
    cost_nanousd        bigint NOT NULL,
    duration_us         bigint NOT NULL,
    durations           numeric NOT NULL,     -- as in the roll-ups, and so is what follows
    kind_costs          numeric NOT NULL DEFAULT 0,
    PRIMARY KEY (account_id, length_s, breakdown, inside, bucket, part)
) WITH (fillfactor = 90);
CREATE INDEX usage_aggregate_of_all ON usage_aggregate (length_s, breakdown, bucket) WHERE inside = '';  -- for operators: every account

-- What the table must hold in buckets of some lengths, by the roll-ups: it is kept up with every batch.
CREATE FUNCTION usage_aggregate_of_rollups(first timestamptz, last timestamptz, lengths_s integer[]) RETURNS SETOF usage_aggregate
LANGUAGE sql STABLE AS $$
SELECT account_id, length_s, breakdown, inside, start AS bucket, part,
       sum(requests)::bigint AS requests,
       sum(limited)::bigint AS limited,
       sum(CASE status_class WHEN 4 THEN requests - limited ELSE 0 END)::bigint AS client_errors,
       sum(CASE status_class WHEN 5 THEN requests ELSE 0 END)::bigint AS server_errors,
       sum(input_tokens)::bigint AS input_tokens,
       sum(output_tokens)::bigint AS output_tokens,
       sum(cache_read_tokens)::bigint AS cache_read_tokens,
       sum(cache_write_tokens)::bigint AS cache_write_tokens,
       sum(reasoning_tokens)::bigint AS reasoning_tokens,
       sum(request_bytes)::bigint AS request_bytes,
       sum(response_bytes)::bigint AS response_bytes,
       sum(cost_nanousd)::bigint AS cost_nanousd,
       sum(duration_us)::bigint AS duration_us,
       sum(durations) AS durations,
       sum(kind_costs) AS kind_costs
FROM rollup
CROSS JOIN LATERAL (
    SELECT length_s, to_timestamp(extract(epoch FROM bucket)::bigint / length_s * length_s) AS start
    FROM unnest(lengths_s) AS length_s
) AS span
CROSS JOIN LATERAL (VALUES
    ('key', '', key_id, false), ('route', '', route, false), ('model', '', model, false),
    ('status', '', status_class || 'xx', false),
    ('key>route', key_id, route, true), ('key>model', key_id, model, true),
    ('key>status', key_id, status_class || 'xx', true),
    ('route>key', route, key_id, true), ('route>model', route, model, true),
    ('route>status', route, status_class || 'xx', true),
    ('model>key', model, key_id, true), ('model>route', model, route, true),
    ('model>status', model, status_class || 'xx', true)
) AS cut (breakdown, inside, part, is_of_days)
WHERE bucket >= first AND bucket < last
    AND half_day > first - interval '12 hours' AND half_day < last AND (length_s = 86400 OR NOT is_of_days) AND (length_s > 900 OR breakdown <> 'key')
GROUP BY account_id, length_s, breakdown, inside, start, part
$$;

-- Counts of the kinds of use beyond the tokens that every call has, such as audio tokens, images and searches, by quarter
-- of an hour and by day. Few calls have any.
CREATE TABLE usage_kind (
    account_id    text NOT NULL,
    length_s      integer NOT NULL CHECK (length_s IN (900, 86400)),
    bucket        timestamptz NOT NULL, -- its first moment, a multiple of its length since 1970 UTC
    key_id        text NOT NULL,
    route         text NOT NULL,
    model         text NOT NULL,        -- '' where there is none
    status_class  smallint NOT NULL,
    kind          text NOT NULL,
    count         bigint NOT NULL,
    PRIMARY KEY (account_id, length_s, bucket, key_id, route, model, status_class, kind)
) WITH (fillfactor = 70);
CREATE INDEX usage_kind_of_all ON usage_kind (length_s, bucket);  -- for operators: every account

-- Sums of the calls that name an end user, by key and that tag, by quarter of an hour and by day.
CREATE TABLE usage_tag (
    account_id          text NOT NULL,
    length_s            integer NOT NULL CHECK (length_s IN (900, 86400)),
    bucket              timestamptz NOT NULL, -- its first moment, a multiple of its length since 1970 UTC
    key_id              text NOT NULL,
    tag                 text NOT NULL,        -- '_other': those that are not kept apart on that day
    requests            bigint NOT NULL,
    limited             bigint NOT NULL,
    client_errors       bigint NOT NULL,
    server_errors       bigint NOT NULL,
    input_tokens        bigint NOT NULL,
    output_tokens       bigint NOT NULL,
    cache_read_tokens   bigint NOT NULL,
    cache_write_tokens  bigint NOT NULL,
    reasoning_tokens    bigint NOT NULL,
    request_bytes       bigint NOT NULL,
    response_bytes      bigint NOT NULL,
    cost_nanousd        bigint NOT NULL,
    duration_us         bigint NOT NULL,
    durations           numeric NOT NULL,
    kind_costs          numeric NOT NULL DEFAULT 0,
    PRIMARY KEY (account_id, length_s, bucket, key_id, tag)
) WITH (fillfactor = 70);
CREATE INDEX usage_tag_of_all ON usage_tag (length_s, bucket);  -- for operators: every account

-- Own prices: they come before the public price list. Append-only: a later row of the same model, provider and account
-- takes over from its `valid_from` on, and one with the same `valid_from` corrects the one before.

CREATE TABLE price (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- 'own <id>' is the price_version of what it priced
    model       text NOT NULL,                -- as answers name it, lower case
    provider    text,                         -- NULL: whoever it is
    account_id  text REFERENCES account,      -- NULL: every account
    valid_from  timestamptz NOT NULL,
    tiers       jsonb NOT NULL,               -- rates by input size, smallest first; whole nano-USD per million
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX price_model ON price (model);
CREATE INDEX price_account ON price (account_id) WHERE account_id IS NOT NULL;  -- whose keys' entries say so

-- The months that are over, as they were billed.

CREATE TABLE invoice (
    account_id      text NOT NULL REFERENCES account,
    period          date NOT NULL,            -- the first day of a UTC month
    plan_id         text NOT NULL,            -- the account's plan when the period was closed
    plan_nanousd    bigint NOT NULL,          -- that plan's monthly price, or the days' shares where plans are pro-rated
    usage_nanousd   bigint NOT NULL,          -- what the ledger said when the period was closed
    requests        bigint NOT NULL,
    input_tokens    bigint NOT NULL,
    output_tokens   bigint NOT NULL,
    closed_at       timestamptz NOT NULL,
    late_nanousd    bigint NOT NULL DEFAULT 0,    -- usage of earlier months that came after their invoices
    lines           jsonb NOT NULL DEFAULT '[]',  -- what the total is made of
    paid_at         timestamptz,                  -- said by an operator; NULL: it is due
    PRIMARY KEY (account_id, period)
);

-- What was in force until a moment; what is in force now is in the rows themselves. Triggers write it, so that no way to change a
-- plan or an account goes past it.
CREATE TABLE plan_price_before (
    plan_id         text NOT NULL REFERENCES plan ON DELETE CASCADE,
    until           timestamptz NOT NULL,
    monthly_nanousd bigint,
    prorated        boolean NOT NULL,
    PRIMARY KEY (plan_id, until)
);

CREATE TABLE account_plan_before (
    account_id  text NOT NULL REFERENCES account ON DELETE CASCADE,
    until       timestamptz NOT NULL,
    plan_id     text NOT NULL,
    PRIMARY KEY (account_id, until)
);

CREATE FUNCTION keep_plan_price() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO plan_price_before VALUES (OLD.id, clock_timestamp(), OLD.monthly_nanousd, OLD.prorated)
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER keep_price AFTER UPDATE ON plan FOR EACH ROW
    WHEN (OLD.monthly_nanousd IS DISTINCT FROM NEW.monthly_nanousd OR OLD.prorated <> NEW.prorated)
    EXECUTE FUNCTION keep_plan_price();

CREATE FUNCTION keep_account_plan() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO account_plan_before VALUES (OLD.id, clock_timestamp(), OLD.plan_id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER keep_plan AFTER UPDATE OF plan_id ON account FOR EACH ROW
    WHEN (OLD.plan_id <> NEW.plan_id) EXECUTE FUNCTION keep_account_plan();

-- What owners are told, through which channels, and how each delivery went.

CREATE TABLE notice_channel (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id  text NOT NULL REFERENCES account,
    form        text NOT NULL CHECK (form IN ('email', 'webhook', 'slack', 'discord')),
    target      text NOT NULL,                -- an e-mail address, or the address of a webhook
    secret      text,                         -- of a webhook: it signs with it
    old_secret  text,                         -- it signs with this too for a day after `rotated_at`
    rotated_at  timestamptz,
    kinds       text[] NOT NULL,
    created_by  text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX notice_channel_account ON notice_channel (account_id);

-- Each thing that is told, once: `name` says which, with the threshold and the period.
CREATE TABLE notice (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    account_id  text NOT NULL REFERENCES account,
    kind        text NOT NULL,
    name        text NOT NULL,
    subject     text NOT NULL,
    text        text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (account_id, name)
);

CREATE TABLE notice_delivery (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    notice_id     uuid NOT NULL REFERENCES notice ON DELETE CASCADE,
    channel_id    bigint NOT NULL REFERENCES notice_channel ON DELETE CASCADE,
    attempts      integer NOT NULL DEFAULT 0,
    next_at       timestamptz DEFAULT now(),  -- NULL: delivered, or given up
    delivered_at  timestamptz,
    error         text,
    UNIQUE (notice_id, channel_id)
);
CREATE INDEX notice_delivery_next ON notice_delivery (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX notice_delivery_channel ON notice_delivery (channel_id);

-- Writes of the API that came with an Idempotency-Key, and how they were answered; secrets are left out.

CREATE TABLE idempotency (
    hash         bytea PRIMARY KEY,           -- SHA-256 of method, path and the key
    fingerprint  bytea NOT NULL,              -- SHA-256 of the body
    status       smallint,                    -- NULL: it is being done, or was broken off
    body         jsonb,
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idempotency_created ON idempotency (created_at);

-- What the key service does by itself now and then, one of its processes each time.
CREATE TABLE job (
    name        text PRIMARY KEY,
    done_at     timestamptz NOT NULL
) WITH (fillfactor = 50);

-- What Grafana may read: views without hashes, e-mails and actors, and a role that sees nothing else. A viewer of a dashboard
-- can send any query through its data source, so these grants are the boundary.
-- The role cannot sign in until an operator says ALTER ROLE keygauge_grafana LOGIN PASSWORD '…': its settings below hold for
-- that very role only and are not inherited by others.

CREATE SCHEMA grafana;

CREATE VIEW grafana.account AS
SELECT id, name, plan_id, status, created_at FROM account;

CREATE VIEW grafana.key AS
SELECT key.id, key.name, key.account_id, account.name AS account_name, account.plan_id, key.environment,
       CASE WHEN key.status = 'active' AND account.status = 'suspended' THEN 'suspended' ELSE key.status END AS status,
       key.created_at, key.expires_at, key.deleted_at, key.last_used_at, key.last_used_ip, key.last_used_route,
       key.app, key.routes, key.models, key.tools, key.networks, key.scopes, key.rotate_every_days,
       (SELECT max(created_at) FROM key_secret WHERE key_id = key.id) AS rotated_at
FROM key JOIN account ON account.id = key.account_id;

-- The budgets: how much of each is used in its current period. A state whose period is over counts as unused, and tells no reset.
CREATE VIEW grafana.quota AS
SELECT state.account_id, CASE lim.subject WHEN 'key' THEN subject.id END AS key_id, lim.name AS limit_name, lim.unit, lim.period,
       lim.amount, CASE WHEN ends_at > now() THEN state.cells[1] ELSE 0 END AS used,
       CASE WHEN ends_at > now() AND lim.period <> 'lifetime' THEN ends_at END AS resets_at
FROM limit_state AS state
CROSS JOIN LATERAL (
    SELECT split_part(state.id, ':', 1)::bigint AS limit_id, split_part(state.id, ':', 2) AS id,
           to_timestamp(state.ends[1] / 1000000) AS ends_at
) AS subject
JOIN plan_limit AS lim ON lim.id = subject.limit_id AND lim.period IS NOT NULL AND NOT lim.per_tag;

-- Calls per bucket of durations, from a number that has twelve digits for each, the first bucket's last.
CREATE FUNCTION grafana.duration_counts(durations numeric) RETURNS bigint[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT array_agg(substr(digits, 241 - 12 * place, 12)::bigint ORDER BY place)
FROM lpad(durations::text, 240, '0') AS digits, generate_series(1, 20) AS place
$$;

-- Queries of a range of buckets name its half days of UTC too: those are found by an index.
CREATE VIEW grafana.rollup AS
SELECT bucket, account_id, key_id, route, model, status_class, requests, limited, input_tokens, output_tokens,
       cache_read_tokens, cache_write_tokens, reasoning_tokens, request_bytes, response_bytes, cost_nanousd, duration_us,
       grafana.duration_counts(durations) AS duration_counts, durations, half_day
FROM rollup;

CREATE VIEW grafana.event AS
SELECT id, time, account_id, key_id, route, method, status, error, ip, duration_us, first_token_us, request_bytes,
       response_bytes, stream, messages, model, provider, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens,
       reasoning_tokens, usage_status, cost_nanousd, outcome, limit_name, trace_id, requested_model
FROM event;

-- For annotations: what was done to what, not by whom.
CREATE VIEW grafana.change AS
SELECT id, at, account_id, action, subject FROM audit;

CREATE VIEW grafana.replica AS
SELECT id, service, host, version, mode, started_at, seen_at FROM replica;

CREATE VIEW grafana.spool AS
SELECT id, next, updated_at FROM spool;

CREATE VIEW grafana.spool_balance AS SELECT * FROM spool_balance;

-- Usage over long ranges, read from a few rows a day and only at the range's ends from the roll-ups.
CREATE VIEW grafana.usage_aggregate AS
SELECT account_id, length_s, breakdown, inside, bucket, part, requests, limited, client_errors, server_errors, input_tokens,
       output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, request_bytes, response_bytes, cost_nanousd,
       duration_us
FROM usage_aggregate;

-- Kinds of use beyond the tokens of every call: audio, images, searches, seconds.
CREATE VIEW grafana.usage_kind AS
SELECT account_id, length_s, bucket, key_id, route, model, status_class, kind, count FROM usage_kind;

-- Dashboards compare with lists of names, not with regular expressions: any name can be quoted.
-- A route or model as Grafana writes it among those that are picked: a double quote gets a backslash there.
CREATE FUNCTION grafana.as_picked(name text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT coalesce(nullif(replace(name, '"', '\"'), ''), 'no model')
$$;

-- Usage of keys by model or by route (`what`), in quarters of an hour from `first` to `last`, of calls whose other one of the two
-- is in `others`. Where bars are of a day or wider and `others` (or NULL) leaves nothing out, whole days come as one row each.
CREATE FUNCTION grafana.usage(what text, first timestamptz, last timestamptz, bar interval, others text[])
RETURNS TABLE (bucket timestamptz, account_id text, key_id text, name text, requests bigint, failed bigint, refused bigint,
               limited bigint, input_tokens bigint, output_tokens bigint, cache_read_tokens bigint, cost_nanousd bigint, duration_us bigint)
LANGUAGE sql STABLE AS $$
WITH span AS MATERIALIZED (
    SELECT CASE WHEN is_whole THEN least(date_bin('1 day', first + interval '1 day' - interval '1 microsecond', 'epoch'), last)
               ELSE last END AS days_from,
           CASE WHEN is_whole THEN greatest(date_bin('1 day', last, 'epoch'), first) ELSE last END AS days_to
    FROM (
        SELECT bar >= interval '1 day' AND (others IS NULL OR NOT EXISTS (
            SELECT FROM grafana.usage_aggregate
            WHERE length_s = 86400 AND inside = '' AND breakdown = CASE what WHEN 'model' THEN 'route' ELSE 'model' END
                AND usage_aggregate.bucket > first - interval '1 day' AND usage_aggregate.bucket < last
                AND grafana.as_picked(part) <> ALL (others)
        )) AS is_whole
    ) AS picked
)
SELECT m.bucket, m.account_id, m.inside, m.part, m.requests, m.server_errors, m.client_errors, m.limited,
       m.input_tokens, m.output_tokens, m.cache_read_tokens, m.cost_nanousd, m.duration_us
FROM grafana.usage_aggregate AS m CROSS JOIN span
WHERE m.length_s = 86400 AND m.breakdown = 'key>' || what AND m.bucket >= span.days_from AND m.bucket < span.days_to
UNION ALL
SELECT r.bucket, r.account_id, r.key_id, CASE what WHEN 'model' THEN r.model ELSE r.route END, r.requests,
       CASE r.status_class WHEN 5 THEN r.requests ELSE 0 END, CASE r.status_class WHEN 4 THEN r.requests - r.limited ELSE 0 END,
       r.limited, r.input_tokens, r.output_tokens, r.cache_read_tokens, r.cost_nanousd, r.duration_us
FROM grafana.rollup AS r CROSS JOIN span
WHERE (r.bucket >= first AND r.bucket < span.days_from OR r.bucket >= greatest(span.days_from, span.days_to) AND r.bucket < last)
    AND (r.half_day > first - interval '12 hours' AND r.half_day < (SELECT days_from FROM span)
         OR r.half_day > (SELECT greatest(days_from, days_to) - interval '12 hours' FROM span) AND r.half_day < last)
    AND (others IS NULL OR grafana.as_picked(CASE what WHEN 'model' THEN r.route ELSE r.model END) = ANY (others))
$$;

-- A quantile in seconds of durations that were counted by bucket; within a bucket they are taken to lie evenly.
CREATE FUNCTION grafana.quantile(counts bigint[], share float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
WITH bucket AS (
    SELECT place, number, sum(number) OVER (ORDER BY place) AS up_to, share * sum(number) OVER () AS wanted,
           '{0,0.005,0.01,0.025,0.05,0.075,0.1,0.25,0.5,0.75,1,2.5,5,7.5,10,20,40,80,160,300,300}'::float8[] AS bounds
    FROM unnest(counts) WITH ORDINALITY AS count(number, place)
)
SELECT bounds[place] + (bounds[place + 1] - bounds[place]) * (wanted - (up_to - number))::float8 / number
FROM bucket
WHERE number > 0 AND up_to >= wanted
ORDER BY place
LIMIT 1
$$;

-- Latency in seconds over time of what is picked: call by call where the range is short, else from the roll-ups.
CREATE FUNCTION grafana.latency(first timestamptz, last timestamptz, bar interval, accounts text[], keys text[], endpoints text[],
                                models text[])
RETURNS TABLE (bucket timestamptz, p50 float8, p95 float8, p99 float8)
LANGUAGE sql STABLE AS $$
SELECT date_bin(greatest(bar, '10 s'), time, 'epoch'), q[1], q[2], q[3]
FROM (
    SELECT date_bin(greatest(bar, '10 s'), time, 'epoch') AS time,
           percentile_cont('{0.5,0.95,0.99}'::float8[]) WITHIN GROUP (ORDER BY duration_us / 1e6) AS q
    FROM grafana.event
    WHERE last - first <= interval '6 hours' AND time >= first AND time < last AND account_id = ANY (accounts)
        AND key_id = ANY (keys) AND grafana.as_picked(route) = ANY (endpoints) AND grafana.as_picked(model) = ANY (models)
    GROUP BY 1
) AS calls
UNION ALL
SELECT start, grafana.quantile(counts, 0.5), grafana.quantile(counts, 0.95), grafana.quantile(counts, 0.99)
FROM (
    SELECT date_bin(greatest(bar, '15 min'), r.bucket, 'epoch') AS start, grafana.duration_counts(sum(r.durations)) AS counts
    FROM grafana.rollup AS r
    WHERE last - first > interval '6 hours' AND r.bucket >= first AND r.bucket < last
        AND r.half_day > first - interval '12 hours' AND r.half_day < last AND r.account_id = ANY (accounts)
        AND r.key_id = ANY (keys) AND grafana.as_picked(r.route) = ANY (endpoints) AND grafana.as_picked(r.model) = ANY (models)
    GROUP BY 1
) AS counted
$$;

DO $$
BEGIN
    CREATE ROLE keygauge_grafana NOLOGIN;
    ALTER ROLE keygauge_grafana SET statement_timeout = '15s';
    ALTER ROLE keygauge_grafana SET default_transaction_read_only = on;
    ALTER ROLE keygauge_grafana SET search_path = grafana;
    ALTER ROLE keygauge_grafana SET timezone = 'UTC';
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN
        NULL;  -- made for another database of this server, perhaps in this very moment
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'no role keygauge_grafana: % may not create roles; make one and grant it SELECT on the schema grafana',
            current_user;
END
$$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'keygauge_grafana') THEN
        GRANT USAGE ON SCHEMA grafana TO keygauge_grafana;
        GRANT SELECT ON ALL TABLES IN SCHEMA grafana TO keygauge_grafana;
    END IF;
END
$$;
