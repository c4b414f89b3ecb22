-- What each process of the metered service says that it counted, beside what the ledger took of it, by hour of UTC.

ALTER TABLE spool
    ADD COLUMN replica      text,
    ADD COLUMN service      text,
    ADD COLUMN host         text,
    ADD COLUMN reported_at  timestamptz;      -- when its process last told its counts; NULL: it never did

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

-- What the key service does by itself now and then, one of its processes each time.
CREATE TABLE chore (
    name        text PRIMARY KEY,
    done_at     timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE VIEW grafana.spool_balance AS SELECT * FROM spool_balance;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'keygauge_grafana') THEN
        GRANT SELECT ON grafana.spool_balance TO keygauge_grafana;
    END IF;
END
$$;
