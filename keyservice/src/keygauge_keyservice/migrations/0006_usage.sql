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
