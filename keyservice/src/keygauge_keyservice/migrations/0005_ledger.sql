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
