-- Quotas by hour, week, quarter and year. Every row fits the new constraint, which locks the table for milliseconds.

ALTER TABLE plan_limit DROP CONSTRAINT plan_limit_period_check;
ALTER TABLE plan_limit ADD CONSTRAINT plan_limit_period_check
    CHECK (period IN ('hour', 'day', 'week', 'month', 'quarter', 'year'));

-- The budgets: how much of each is used in its current UTC period. A state whose period is over counts as unused.
CREATE OR REPLACE VIEW grafana.quota AS
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
           (date_trunc(lim.period, now() AT TIME ZONE 'UTC')
            + CASE lim.period WHEN 'quarter' THEN interval '3 months' ELSE ('1 ' || lim.period)::interval END)
           AT TIME ZONE 'UTC' AS ends_at
) AS now_in;
