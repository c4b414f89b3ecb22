-- The usage ledger: events as they happened, roll-ups for every page, and each spool's cursor.

CREATE TABLE spool (
    id          text PRIMARY KEY,             -- one per process of the metered service
    next        bigint NOT NULL,              -- the number of the first event not yet in the ledger
    updated_at  timestamptz NOT NULL
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
    model               text,                 -- as the answer named it
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
    trace_id            text
) PARTITION BY RANGE (time);
CREATE INDEX event_account_time ON event (account_id, time DESC, id DESC);

-- 15 minutes UTC x account x key x route x model x status class.
CREATE TABLE rollup (
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
    duration_counts     bigint[] NOT NULL,    -- calls per bucket of keygauge.metrics.DURATION_BUCKETS_S, the last is +Inf
    PRIMARY KEY (account_id, bucket, key_id, route, model, status_class)
) WITH (fillfactor = 70);
CREATE INDEX rollup_bucket ON rollup (bucket);
