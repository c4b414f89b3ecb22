-- Rates as logs of what was given, limits of single keys, routes and models, and what a request is taken to write.

-- A rate's cells are the units given, newest last; each counts until its end (unix microseconds) and one window more.
ALTER TABLE limit_state ADD COLUMN ends bigint[] NOT NULL DEFAULT '{}';
UPDATE limit_state SET (head, cells, ends) = (
    SELECT 0, coalesce(array_agg(units ORDER BY place DESC), '{}'),
           coalesce(array_agg((head - place + 2) * window_s * 50000 ORDER BY place DESC), '{}')  -- 20 buckets a window
    FROM unnest(cells) WITH ORDINALITY AS cell (units, place) WHERE units > 0)
FROM plan_limit
WHERE plan_limit.id = split_part(limit_state.id, ':', 1)::bigint AND window_s IS NOT NULL;
DELETE FROM lease USING plan_limit  -- they named buckets; what was not spent of them is burnt
WHERE plan_limit.id = split_part(lease.state_id, ':', 1)::bigint AND window_s IS NOT NULL;
COMMENT ON COLUMN lease.bucket IS 'budget: the period it belongs to; rate: the end under which its units are counted';

-- A limit belongs to a plan, or to one key as a tighter one of its own.
ALTER TABLE plan_limit
    ALTER COLUMN plan_id DROP NOT NULL,
    ADD COLUMN key_id text REFERENCES key ON DELETE CASCADE,
    ADD COLUMN route text,                    -- counts the calls of this route template only
    ADD COLUMN model text,                    -- … of this model only
    ADD COLUMN output_default integer CHECK (output_default > 0),  -- tokens reserved where a request declares no cap
    ADD CHECK (num_nonnulls(plan_id, key_id) = 1),
    ADD CHECK (key_id IS NULL OR subject = 'key'),
    ADD UNIQUE (key_id, name);
