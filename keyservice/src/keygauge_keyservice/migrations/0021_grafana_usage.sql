-- Usage over long ranges for dashboards, read from a few rows a day and only at the range's ends from the roll-ups.

CREATE VIEW grafana.usage_aggregate AS
SELECT account_id, length_s, breakdown, inside, bucket, part, requests, limited, client_errors, server_errors, input_tokens,
       output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, request_bytes, response_bytes, cost_nanousd,
       duration_us
FROM usage_aggregate;

-- Usage of keys by model or by route (`what`), in quarters of an hour from `first` to `last`. Where bars are of a day or wider
-- and the other one of the two is not narrowed (`other`, a regular expression), whole days come as one row each.
CREATE FUNCTION grafana.usage(what text, first timestamptz, last timestamptz, bar interval, other text)
RETURNS TABLE (bucket timestamptz, account_id text, key_id text, name text, requests bigint, failed bigint, limited bigint,
               input_tokens bigint, output_tokens bigint, cache_read_tokens bigint, cost_nanousd bigint, duration_us bigint)
LANGUAGE sql STABLE AS $$
SELECT m.bucket, m.account_id, m.inside, m.part, m.requests, m.server_errors, m.limited, m.input_tokens, m.output_tokens,
       m.cache_read_tokens, m.cost_nanousd, m.duration_us
FROM grafana.usage_aggregate AS m
WHERE other = '.*' AND bar >= interval '1 day' AND m.length_s = 86400 AND m.breakdown = 'key>' || what
    AND m.bucket >= date_bin('1 day', first + interval '1 day' - interval '1 microsecond', 'epoch')
    AND m.bucket < date_bin('1 day', last, 'epoch')
UNION ALL
SELECT r.bucket, r.account_id, r.key_id, CASE what WHEN 'model' THEN r.model ELSE r.route END, r.requests,
       CASE r.status_class WHEN 5 THEN r.requests ELSE 0 END, r.limited, r.input_tokens, r.output_tokens,
       r.cache_read_tokens, r.cost_nanousd, r.duration_us
FROM grafana.rollup AS r
WHERE r.bucket >= first
    AND r.bucket < CASE WHEN other = '.*' AND bar >= interval '1 day'
        THEN least(date_bin('1 day', first + interval '1 day' - interval '1 microsecond', 'epoch'), last) ELSE last END
    AND CASE what WHEN 'model' THEN r.route ELSE r.model END ~ ('^(' || other || ')$')
UNION ALL
SELECT r.bucket, r.account_id, r.key_id, CASE what WHEN 'model' THEN r.model ELSE r.route END, r.requests,
       CASE r.status_class WHEN 5 THEN r.requests ELSE 0 END, r.limited, r.input_tokens, r.output_tokens,
       r.cache_read_tokens, r.cost_nanousd, r.duration_us
FROM grafana.rollup AS r
WHERE other = '.*' AND bar >= interval '1 day' AND r.bucket < last
    AND r.bucket >= greatest(date_bin('1 day', last, 'epoch'),
        date_bin('1 day', first + interval '1 day' - interval '1 microsecond', 'epoch'))
$$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'keygauge_grafana') THEN
        GRANT SELECT ON grafana.usage_aggregate TO keygauge_grafana;
    END IF;
END
$$;
