-- Dashboards compare with lists of names, not with regular expressions: any name can be quoted.

-- A route or model as Grafana writes it among those that are picked: a double quote gets a backslash there.
CREATE FUNCTION grafana.as_picked(name text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT coalesce(nullif(replace(name, '"', '\"'), ''), 'no model')
$$;

-- Usage of keys by model or by route (`what`), in quarters of an hour from `first` to `last`, of calls whose other one of the two
-- is in `others`. Where bars are of a day or wider and `others` (or NULL) leaves nothing out, whole days come as one row each.
DROP FUNCTION grafana.usage(text, timestamptz, timestamptz, interval, text);
CREATE FUNCTION grafana.usage(what text, first timestamptz, last timestamptz, bar interval, others text[])
RETURNS TABLE (bucket timestamptz, account_id text, key_id text, name text, requests bigint, failed bigint, limited bigint,
               input_tokens bigint, output_tokens bigint, cache_read_tokens bigint, cost_nanousd bigint, duration_us bigint)
LANGUAGE sql STABLE AS $$
WITH span AS MATERIALIZED (
    SELECT CASE WHEN is_whole THEN least(date_bin('1 day', first + interval '1 day' - interval '1 microsecond', 'epoch'), last)
               ELSE last END AS days_from,
           CASE WHEN is_whole THEN greatest(date_bin('1 day', last, 'epoch'), first) ELSE last END AS days_to
    FROM (
        SELECT bar >= interval '1 day' AND (others IS NULL OR NOT EXISTS (
            SELECT FROM grafana.margin
            WHERE length_s = 86400 AND inside = '' AND breakdown = CASE what WHEN 'model' THEN 'route' ELSE 'model' END
                AND margin.bucket > first - interval '1 day' AND margin.bucket < last
                AND grafana.as_picked(part) <> ALL (others)
        )) AS is_whole
    ) AS picked
)
SELECT m.bucket, m.account_id, m.inside, m.part, m.requests, m.server_errors, m.limited, m.input_tokens, m.output_tokens,
       m.cache_read_tokens, m.cost_nanousd, m.duration_us
FROM grafana.margin AS m CROSS JOIN span
WHERE m.length_s = 86400 AND m.breakdown = 'key>' || what AND m.bucket >= span.days_from AND m.bucket < span.days_to
UNION ALL
SELECT r.bucket, r.account_id, r.key_id, CASE what WHEN 'model' THEN r.model ELSE r.route END, r.requests,
       CASE r.status_class WHEN 5 THEN r.requests ELSE 0 END, r.limited, r.input_tokens, r.output_tokens,
       r.cache_read_tokens, r.cost_nanousd, r.duration_us
FROM grafana.rollup AS r CROSS JOIN span
WHERE (r.bucket >= first AND r.bucket < span.days_from OR r.bucket >= greatest(span.days_from, span.days_to) AND r.bucket < last)
    AND (others IS NULL OR grafana.as_picked(CASE what WHEN 'model' THEN r.route ELSE r.model END) = ANY (others))
$$;
