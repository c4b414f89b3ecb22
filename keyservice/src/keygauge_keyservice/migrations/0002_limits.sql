-- The shared side of the limits: one row per limit and subject, and the leases that are out.

CREATE TABLE limit_state (
    id          text PRIMARY KEY,             -- '<plan_limit.id>:<account or key id>'
    account_id  text NOT NULL,
    -- A rate counts in sub-buckets of its window: `head` is the number of the newest one, `cells` the units of those
    -- that count (N + 1 or N + 2), newest first. A budget has one cell and its period's first instant as head (unix seconds).
    head        bigint NOT NULL DEFAULT 0,
    cells       bigint[] NOT NULL DEFAULT '{0}'
) WITH (fillfactor = 50);

CREATE TABLE lease (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    state_id    text NOT NULL,
    replica     text NOT NULL,
    bucket      bigint NOT NULL,              -- limit_state.head when it was granted
    units       bigint NOT NULL,
    ends_at     timestamptz NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX lease_ends ON lease (ends_at);

CREATE TABLE replica (
    id          text PRIMARY KEY,             -- one process of the metered service, as long as it lives
    service     text NOT NULL,
    host        text NOT NULL,
    version     text NOT NULL,
    mode        text NOT NULL,
    started_at  timestamptz NOT NULL,
    seen_at     timestamptz NOT NULL
) WITH (fillfactor = 50);
