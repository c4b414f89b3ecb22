-- All tables, views and functions in one file, for reading only. The service applies the files in migrations/; a test ensures
-- that both are equal.

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

-- Keys, their restrictions and their secrets.

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
    last_used_at  timestamptz,                -- updated by the ledger, without a change in the feed
    last_used_ip  text,
    last_used_route text,
    app             text,                          -- the program that uses it, as described by its owner
    scopes          text[] NOT NULL DEFAULT '{}',  -- passed to the metered service, which interprets them
    routes          text[] NOT NULL DEFAULT '{}',  -- allowed route templates, '…*' matches by prefix; empty: all
    networks        text[] NOT NULL DEFAULT '{}',  -- allowed client networks in CIDR notation; empty: all
    models          text[] NOT NULL DEFAULT '{}',  -- allowed models as named by calls, '…*' matches by prefix; empty: all
    tools           text[] NOT NULL DEFAULT '{}',  -- allowed tools as named by JSON-RPC calls, likewise
    rotate_every_days integer CHECK (rotate_every_days BETWEEN 1 AND 3650),  -- reminder in the portal
    -- What an operator has set can only be lifted by an operator.
    locked_status   boolean NOT NULL DEFAULT false,  -- disabled by an operator
    locked_terms    text[] NOT NULL DEFAULT '{}'     -- columns that an operator has set
) WITH (fillfactor = 70);
CREATE INDEX key_account_created ON key (account_id, created_at, id);
CREATE INDEX key_created ON key (created_at DESC, id);               -- for operators: every account
CREATE INDEX key_expires ON key (expires_at) WHERE expires_at IS NOT NULL;  -- for /metrics: every account
-- for searches by prefix of a name or program, independent of the database's collation
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

-- Which service looked up which key: a service can only report usage, spend limits and receive changes of these keys.
-- A service is identified by the name of its tokens; the environment's token is the service without a name.
CREATE TABLE service_key (
    service  text NOT NULL,
    key_id   text NOT NULL REFERENCES key ON DELETE CASCADE,
    PRIMARY KEY (key_id, service)
);

-- The accounts of these keys, as an account may have very many keys.
CREATE TABLE service_account (
    service     text NOT NULL,
    account_id  text NOT NULL REFERENCES account ON DELETE CASCADE,
    PRIMARY KEY (account_id, service)
);

-- Fingerprints of the peppers, so that a service with a different one fails to start instead of refusing every key.
CREATE TABLE pepper (
    version      integer PRIMARY KEY,
    fingerprint  bytea NOT NULL,               -- HMAC-SHA256(pepper, a fixed text): reveals nothing about the pepper
    created_at   timestamptz NOT NULL DEFAULT now()
);

-- Addresses from which a key was used, so that new ones are noticed without reading its calls.
CREATE TABLE key_address (
    key_id      text NOT NULL REFERENCES key,
    ip          text NOT NULL,
    first_at    timestamptz NOT NULL,
    last_at     timestamptz NOT NULL,         -- updated at most once a day
    account_id  text NOT NULL,                -- the key's
    PRIMARY KEY (key_id, ip)
);
CREATE INDEX key_address_first ON key_address (key_id, first_at);
CREATE INDEX key_address_account ON key_address (account_id, first_at);

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

-- The usage ledger: events, each spool's cursor, roll-ups, and the comparison with the processes' own counts.

CREATE TABLE spool (
    id          text PRIMARY KEY,             -- one per process of the metered service
    next        bigint NOT NULL,              -- the number of the first event not yet in the ledger
    updated_at  timestamptz NOT NULL,
    owner       text,                         -- the spool of the process that sent the last batch: itself, or the one that adopted it
    token_name  text,                         -- name of the token that opened it; NULL: the environment's
    replica     text,
    service     text,
    host        text,
    reported_at timestamptz                   -- when its process last reported its counts; NULL: never
) WITH (fillfactor = 50);

CREATE TABLE event (
    id                  uuid NOT NULL,        -- version 7, derived from the event's time, spool and number
    time                timestamptz NOT NULL, -- when the request arrived
    account_id          text NOT NULL,
    key_id              text NOT NULL,
    route               text NOT NULL,        -- the template, '_unmatched' if there is none
    method              text NOT NULL,
    status              smallint NOT NULL,    -- as sent; 499 if the client disconnected before the response started
    error               text,                 -- error.type: an exception's class or a refusal's code
    ip                  text,
    duration_us         bigint NOT NULL,
    first_token_us      bigint,
    request_bytes       bigint NOT NULL,
    response_bytes      bigint NOT NULL,
    stream              text,                 -- sse, websocket, or NULL
    messages            bigint NOT NULL DEFAULT 0,
    model               text,                 -- that it counts for: as named in the response, or else as requested
    provider            text,
    input_tokens        bigint,               -- including cached ones; NULL means unknown, not 0
    output_tokens       bigint,               -- including reasoning
    cache_read_tokens   bigint,
    cache_write_tokens  bigint,
    reasoning_tokens    bigint,
    usage_status        text NOT NULL CHECK (usage_status IN ('reported', 'partial', 'estimated', 'none')),
    cost_nanousd        bigint,
    price_version       text,
    outcome             text NOT NULL,        -- admitted, limited, quota, revoked, expired, forbidden, unavailable, part
    limit_name          text,
    trace_id            text,
    details             jsonb,                -- kinds of use other than the five token counts; NULL for nearly every call
    requested_model     text,                 -- as the request named it
    tag                 text,                 -- the end user named by the caller
    kind_costs          numeric               -- the cost by kind, except plain input: see the roll-ups; NULL: nothing
) PARTITION BY RANGE (time);
-- In the order in which calls arrive: an index that grows at its end takes a quarter less space, and backward scans are as fast.
CREATE INDEX event_account_time ON event (account_id, time, id);
CREATE INDEX event_key_time ON event (key_id, time, id);  -- the call log of one key, even if its calls are rare

-- Functions that create and drop the ledger's months with the privileges of the tables' owner, so that the service needs none.
-- Only grants control who may call them: see roles.sql.

CREATE FUNCTION make_event_month(month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    first date := date_trunc('month', month)::date;
    name text := 'event_' || to_char(first, 'YYYY_MM');
BEGIN
    -- Created first and attached later, which does not wait for readers and writers of other months.
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

-- The roll-ups: 15 minutes UTC x account x key x route x model x status class. Batches add to rows per quarter of an hour;
-- completed half days are packed. Queries do not read these two tables but the view `rollup` of both.
CREATE TABLE rollup_recent (
    bucket              timestamptz NOT NULL,
    account_id          text NOT NULL,
    key_id              text NOT NULL,
    route               text NOT NULL,
    model               text NOT NULL,        -- '' if the call had none
    status_class        smallint NOT NULL,    -- 2, 3, 4, 5
    requests            bigint NOT NULL,
    limited             bigint NOT NULL,      -- rejected by a rate limit or a quota
    input_tokens        bigint NOT NULL,
    output_tokens       bigint NOT NULL,
    cache_read_tokens   bigint NOT NULL,
    cache_write_tokens  bigint NOT NULL,
    reasoning_tokens    bigint NOT NULL,
    request_bytes       bigint NOT NULL,
    response_bytes      bigint NOT NULL,
    cost_nanousd        bigint NOT NULL,
    duration_us         bigint NOT NULL,      -- sum
    -- Calls per bucket of keygauge.metrics.DURATION_BUCKETS_S, the last of which is +Inf: twelve digits each, the first bucket in the
    -- lowest digits. Histograms are added as numbers, and zero digits take little space: a single call's histogram takes five bytes.
    durations           numeric NOT NULL,
    -- Cost per kind, twenty digits each, in the order of keygauge.kinds.CHARGED from its second kind on, which is in the lowest
    -- digits. The first, plain input, is the rest of the cost. Most kinds cost nothing and take no space.
    kind_costs          numeric NOT NULL DEFAULT 0,
    PRIMARY KEY (account_id, bucket, key_id, route, model, status_class)
) WITH (fillfactor = 90);
CREATE INDEX rollup_recent_bucket ON rollup_recent (bucket, account_id, key_id);  -- also by key, as a key has few rows per bucket

-- Half a UTC day in one row per key, route, model and status class, in two fifths of the space. Late events, and changes by
-- re-rating, are in the recent rows until the half day is packed again; the sums of both count.
CREATE TABLE rollup_packed (
    account_id          text NOT NULL,
    half_day            timestamptz NOT NULL, -- its start
    key_id              text NOT NULL,
    route               text NOT NULL,
    model               text NOT NULL,
    status_class        smallint NOT NULL,
    quarters            smallint[] NOT NULL,  -- quarters of an hour with calls, 0 to 47, unordered; the sums of each follow
    requests            bigint[],             -- here and below: NULL for 0, also if all are 0
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

-- Queries for buckets should also filter by their half days, which have an index.
CREATE VIEW rollup AS
SELECT date_bin('12 hours', bucket, 'epoch') AS half_day, rollup_recent.* FROM rollup_recent
UNION ALL
SELECT half_day, half_day + quarter * interval '15 minutes', account_id, key_id, route, model, status_class,
       coalesce(requests[place], 0), coalesce(limited[place], 0), coalesce(input_tokens[place], 0), coalesce(output_tokens[place], 0),
       coalesce(cache_read_tokens[place], 0), coalesce(cache_write_tokens[place], 0), coalesce(reasoning_tokens[place], 0),
       coalesce(request_bytes[place], 0), coalesce(response_bytes[place], 0), coalesce(cost_nanousd[place], 0),
       coalesce(duration_us[place], 0), coalesce(durations[place], 0), coalesce(kind_costs[place], 0)
FROM rollup_packed CROSS JOIN LATERAL unnest(quarters) WITH ORDINALITY AS part (quarter, place);

-- Usage reported by each process and usage ingested into the ledger, by UTC hour.
CREATE TABLE spool_hour (
    spool_id                text NOT NULL,
    hour                    timestamptz NOT NULL,
    requests                bigint NOT NULL DEFAULT 0,    -- in the events ingested
    input_tokens            bigint NOT NULL DEFAULT 0,
    output_tokens           bigint NOT NULL DEFAULT 0,
    taken_at                timestamptz,                  -- when the last of these events arrived
    reported_requests       bigint NOT NULL DEFAULT 0,    -- as counted by its process
    reported_input_tokens   bigint NOT NULL DEFAULT 0,
    reported_output_tokens  bigint NOT NULL DEFAULT 0,
    reported_at             timestamptz,                  -- when these last changed
    written                 bigint NOT NULL DEFAULT 0,    -- the number of the spool's next event at that time
    PRIMARY KEY (spool_id, hour)
) WITH (fillfactor = 50);
CREATE INDEX spool_hour_hour ON spool_hour (hour);

-- Both sides per process and hour. Reported usage that is still in the spool is waiting, for at most a day. What the ledger
-- ingested after the process's last report is not a surplus: a killed process does not report its final counts.
CREATE VIEW replica_check AS
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

-- Events that the ledger set aside, with the reason; an operator may accept them.
CREATE TABLE event_aside (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    spool_id  text NOT NULL,
    number    bigint NOT NULL,                -- in the spool
    service   text NOT NULL,                  -- whose token sent it
    reason    text NOT NULL,
    key_id    text,                           -- as given in the event, if readable
    line      bytea NOT NULL
);

-- Sums of the roll-ups by one dimension, or by one within another, in buckets of four lengths. A page reads a few rows of
-- each length, regardless of its range and of the number of combinations of key, route, model and status. Keys have no
-- quarters of an hour: these would be two thirds of all rows, and the roll-ups have few rows per key in so short a time.

CREATE TABLE usage_aggregate (
    account_id          text NOT NULL,
    length_s            integer NOT NULL CHECK (length_s IN (900, 7200, 86400, 604800)),
    breakdown           text NOT NULL,        -- key, route, model, status; for days also key>model and so on
    inside              text NOT NULL,        -- the value of the dimension before the >, or ''
    bucket              timestamptz NOT NULL, -- its start, a multiple of its length since 1970 UTC
    part                text NOT NULL,        -- the value of the other dimension: a key, a route, a model or '', 2xx to 5xx
    requests            bigint NOT NULL,
    limited             bigint NOT NULL,
    client_errors       bigint NOT NULL,      -- responses from 400 to 499 that no limit caused
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
    durations           numeric NOT NULL,     -- here and below: as in the roll-ups
    kind_costs          numeric NOT NULL DEFAULT 0,
    PRIMARY KEY (account_id, length_s, breakdown, inside, bucket, part)
) WITH (fillfactor = 90);
CREATE INDEX usage_aggregate_of_all ON usage_aggregate (length_s, breakdown, bucket) WHERE inside = '';  -- for operators: every account

-- What the table should contain according to the roll-ups, in buckets of some lengths; every batch updates the table.
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

-- Counts of other kinds of use than the usual tokens, such as audio tokens, images and searches, by quarter of an hour and
-- by day. Few calls have any.
CREATE TABLE usage_kind (
    account_id    text NOT NULL,
    length_s      integer NOT NULL CHECK (length_s IN (900, 86400)),
    bucket        timestamptz NOT NULL, -- its start, a multiple of its length since 1970 UTC
    key_id        text NOT NULL,
    route         text NOT NULL,
    model         text NOT NULL,        -- '' if there is none
    status_class  smallint NOT NULL,
    kind          text NOT NULL,        -- '(refused)': calls refused for another reason than a limit
    count         bigint NOT NULL,
    PRIMARY KEY (account_id, length_s, bucket, key_id, route, model, status_class, kind)
) WITH (fillfactor = 70);
CREATE INDEX usage_kind_of_all ON usage_kind (length_s, bucket);  -- for operators: every account

-- Sums of calls with a tag (end user), by key and tag, by quarter of an hour and by day.
CREATE TABLE usage_tag (
    account_id          text NOT NULL,
    length_s            integer NOT NULL CHECK (length_s IN (900, 86400)),
    bucket              timestamptz NOT NULL, -- its start, a multiple of its length since 1970 UTC
    key_id              text NOT NULL,
    tag                 text NOT NULL,        -- '_other': tags that are not kept separately on that day
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

-- Own prices, which take precedence over the public price list. Append-only: a later row for the same model, provider and
-- account applies from its `valid_from` on, and one with the same `valid_from` corrects the previous one.

CREATE TABLE price (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- 'own <id>' is the price_version of calls priced by it
    model       text NOT NULL,                -- as named in responses, in lower case
    provider    text,                         -- NULL: any provider
    account_id  text REFERENCES account,      -- NULL: every account
    valid_from  timestamptz NOT NULL,
    tiers       jsonb NOT NULL,               -- rates by input size, smallest first; integer nano-USD per million
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX price_model ON price (model);
CREATE INDEX price_account ON price (account_id) WHERE account_id IS NOT NULL;  -- to mark the key entries of these accounts

-- Invoices, and the histories of plan prices and accounts' plans.

CREATE TABLE invoice (
    account_id      text NOT NULL REFERENCES account,
    period          date NOT NULL,            -- the first day of a UTC month
    plan_id         text NOT NULL,            -- the account's plan when the period was closed
    plan_nanousd    bigint NOT NULL,          -- that plan's monthly price, or the sum of daily shares if plans are prorated
    usage_nanousd   bigint NOT NULL,          -- according to the ledger when the period was closed
    requests        bigint NOT NULL,
    input_tokens    bigint NOT NULL,
    output_tokens   bigint NOT NULL,
    closed_at       timestamptz NOT NULL,
    late_nanousd    bigint NOT NULL DEFAULT 0,    -- usage of earlier months that arrived after their invoices
    lines           jsonb NOT NULL DEFAULT '[]',  -- line items, which add up to the total
    paid_at         timestamptz,                  -- set by an operator; NULL: due
    PRIMARY KEY (account_id, period)
);

-- What was in force until a time; current values are in the plan and account rows. Triggers write these rows, so that no change
-- of a plan or an account can bypass them.
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

-- Notifications to account owners: channels, notices, and the state of each delivery.

CREATE TABLE notice_channel (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id  text NOT NULL REFERENCES account,
    form        text NOT NULL CHECK (form IN ('email', 'webhook', 'slack', 'discord')),
    target      text NOT NULL,                -- an e-mail address, or the URL of a webhook
    secret      text,                         -- of a webhook, for signatures
    old_secret  text,                         -- also used for signatures for a day after `rotated_at`
    rotated_at  timestamptz,
    kinds       text[] NOT NULL,
    created_by  text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX notice_channel_account ON notice_channel (account_id);

-- Each notice once: `name` identifies it, for example with the threshold and the period.
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
    next_at       timestamptz DEFAULT now(),  -- NULL: delivered or given up
    delivered_at  timestamptz,
    error         text,
    UNIQUE (notice_id, channel_id)
);
CREATE INDEX notice_delivery_next ON notice_delivery (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX notice_delivery_channel ON notice_delivery (channel_id);

-- API writes with an Idempotency-Key, and their responses without secrets.

CREATE TABLE idempotency (
    hash         bytea PRIMARY KEY,           -- SHA-256 of method, path and the key
    fingerprint  bytea NOT NULL,              -- SHA-256 of the body
    status       smallint,                    -- NULL: in progress, or interrupted
    body         jsonb,
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idempotency_created ON idempotency (created_at);

-- Periodic jobs; each run is done by one of the key service's processes.
CREATE TABLE job (
    name        text PRIMARY KEY,
    done_at     timestamptz NOT NULL
) WITH (fillfactor = 50);

-- What Grafana may read: views without hashes, e-mail addresses and actors, and a role that can read nothing else. A viewer of a
-- dashboard can send any query through its data source, so these grants are the security boundary.
-- The role cannot sign in until an operator runs ALTER ROLE keygauge_grafana LOGIN PASSWORD '…': the settings below apply to
-- this role only and are not inherited by others.

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

-- Quotas: how much of each is used in its current period, without what replicas hold unspent. A state whose period has ended counts as unused, without a reset time.
CREATE VIEW grafana.quota AS
SELECT state.account_id, CASE lim.subject WHEN 'key' THEN subject.id END AS key_id, lim.name AS limit_name, lim.unit, lim.period,
       lim.amount, CASE WHEN ends_at > now() THEN greatest(0, state.cells[1] - (
           SELECT coalesce(sum(units - spent), 0) FROM lease
           WHERE state_id = state.id AND bucket = head AND NOT closed AND lease.ends_at > now() - interval '2 seconds'
       ))::bigint ELSE 0 END AS used,
       CASE WHEN ends_at > now() AND lim.period <> 'lifetime' THEN ends_at END AS resets_at
FROM limit_state AS state
CROSS JOIN LATERAL (
    SELECT split_part(state.id, ':', 1)::bigint AS limit_id, split_part(state.id, ':', 2) AS id,
           to_timestamp(state.ends[1] / 1000000) AS ends_at
) AS subject
JOIN plan_limit AS lim ON lim.id = subject.limit_id AND lim.period IS NOT NULL AND NOT lim.per_tag;

-- Calls per duration bucket, from a number with twelve digits per bucket, the first bucket in the lowest digits.
CREATE FUNCTION grafana.duration_counts(durations numeric) RETURNS bigint[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT array_agg(substr(digits, 241 - 12 * place, 12)::bigint ORDER BY place)
FROM lpad(durations::text, 240, '0') AS digits, generate_series(1, 20) AS place
$$;

-- Queries for a range of buckets should also filter by its UTC half days, which have an index.
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

-- For annotations: actions and their subjects, without actors.
CREATE VIEW grafana.change AS
SELECT id, at, account_id, action, subject FROM audit;

CREATE VIEW grafana.replica AS
SELECT id, service, host, version, mode, started_at, seen_at FROM replica;

CREATE VIEW grafana.spool AS
SELECT id, next, updated_at FROM spool;

CREATE VIEW grafana.replica_check AS SELECT * FROM replica_check;

-- Usage over long ranges, read from a few rows per day, and from the roll-ups only at the ends of the range.
CREATE VIEW grafana.usage_aggregate AS
SELECT account_id, length_s, breakdown, inside, bucket, part, requests, limited, client_errors, server_errors, input_tokens,
       output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, request_bytes, response_bytes, cost_nanousd,
       duration_us
FROM usage_aggregate;

-- Kinds of use other than the usual tokens: audio, images, searches, seconds.
CREATE VIEW grafana.usage_kind AS
SELECT account_id, length_s, bucket, key_id, route, model, status_class, kind, count FROM usage_kind WHERE kind <> '(refused)';

-- Dashboards compare with lists of names, not with regular expressions, as any name can be quoted.
-- A route or model as Grafana formats selected values: double quotes are escaped by a backslash.
CREATE FUNCTION grafana.variable_value(name text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT coalesce(nullif(replace(name, '"', '\"'), ''), 'no model')
$$;

-- Usage of keys by model or route (`what`), in quarters of an hour from `first` to `last`, of calls whose route or model (the
-- other one of the two) is in `others`. If bars are a day or wider and `others` excludes nothing (or is NULL), whole days are
-- one row each.
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
                AND grafana.variable_value(part) <> ALL (others)
        )) AS is_whole
    ) AS days
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
    AND (others IS NULL OR grafana.variable_value(CASE what WHEN 'model' THEN r.route ELSE r.model END) = ANY (others))
$$;

-- A quantile in seconds of durations counted by bucket; within a bucket, they are assumed to be evenly distributed.
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

-- Latency in seconds over time for the selection: from single calls if the range is short, else from the roll-ups.
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
        AND key_id = ANY (keys) AND grafana.variable_value(route) = ANY (endpoints) AND grafana.variable_value(model) = ANY (models)
    GROUP BY 1
) AS calls
UNION ALL
SELECT start, grafana.quantile(counts, 0.5), grafana.quantile(counts, 0.95), grafana.quantile(counts, 0.99)
FROM (
    SELECT date_bin(greatest(bar, '15 min'), r.bucket, 'epoch') AS start, grafana.duration_counts(sum(r.durations)) AS counts
    FROM grafana.rollup AS r
    WHERE last - first > interval '6 hours' AND r.bucket >= first AND r.bucket < last
        AND r.half_day > first - interval '12 hours' AND r.half_day < last AND r.account_id = ANY (accounts)
        AND r.key_id = ANY (keys) AND grafana.variable_value(r.route) = ANY (endpoints) AND grafana.variable_value(r.model) = ANY (models)
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
        NULL;  -- created for another database of this server, perhaps concurrently
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
