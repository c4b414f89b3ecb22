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
