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
