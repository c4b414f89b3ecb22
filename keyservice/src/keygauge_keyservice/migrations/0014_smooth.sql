-- Rates that flow at an even pace: in limit_state, `head` is when their bucket is empty (unix microseconds).
ALTER TABLE plan_limit
    ADD COLUMN smooth boolean NOT NULL DEFAULT false,
    ADD CHECK (NOT smooth OR window_s IS NOT NULL);
