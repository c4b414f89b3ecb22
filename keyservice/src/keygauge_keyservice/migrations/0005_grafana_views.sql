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
       key.created_at, key.expires_at, key.deleted_at, key.last_used_at, key.last_used_ip, key.last_used_route
FROM key JOIN account ON account.id = key.account_id;

-- The budgets: how much of each is used in the current UTC day or month. A state whose period is over counts as unused.
CREATE VIEW grafana.quota AS
SELECT state.account_id, CASE lim.subject WHEN 'key' THEN subject.id END AS key_id, lim.name AS limit_name, lim.unit, lim.period,
       lim.amount, CASE WHEN state.head = extract(epoch FROM now_in.starts_at) THEN state.cells[1] ELSE 0 END AS used,
       now_in.ends_at AS resets_at
FROM limit_state AS state
CROSS JOIN LATERAL (
    SELECT split_part(state.id, ':', 1)::bigint AS limit_id, split_part(state.id, ':', 2) AS id
) AS subject
JOIN plan_limit AS lim ON lim.id = subject.limit_id AND lim.period IS NOT NULL
CROSS JOIN LATERAL (
    SELECT date_trunc(lim.period, now(), 'UTC') AS starts_at,
           (date_trunc(lim.period, now() AT TIME ZONE 'UTC') + ('1 ' || lim.period)::interval) AT TIME ZONE 'UTC' AS ends_at
) AS now_in;

CREATE VIEW grafana.rollup AS
SELECT bucket, account_id, key_id, route, model, status_class, requests, limited, input_tokens, output_tokens,
       cache_read_tokens, cache_write_tokens, reasoning_tokens, request_bytes, response_bytes, cost_nanousd, duration_us,
       duration_counts
FROM rollup;

CREATE VIEW grafana.event AS
SELECT id, time, account_id, key_id, route, method, status, error, ip, duration_us, first_token_us, request_bytes,
       response_bytes, stream, messages, model, provider, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens,
       reasoning_tokens, usage_status, cost_nanousd, outcome, limit_name, trace_id
FROM event;

-- For annotations: what was done to what, not by whom.
CREATE VIEW grafana.change AS
SELECT id, at, account_id, action, subject FROM audit;

CREATE VIEW grafana.replica AS
SELECT id, service, host, version, mode, started_at, seen_at FROM replica;

CREATE VIEW grafana.spool AS
SELECT id, next, updated_at FROM spool;

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
