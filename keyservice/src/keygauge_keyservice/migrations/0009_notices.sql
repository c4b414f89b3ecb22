-- Notifications to account owners: channels, notices, and the state of each delivery.

CREATE TABLE notice_channel (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id  text NOT NULL REFERENCES account,
    form        text NOT NULL CHECK (form IN ('email', 'webhook', 'slack', 'discord')),
    target      text NOT NULL,                -- an e-mail address, or the URL of a webhook
    secret      text,                         -- of a webhook, for signatures
    old_secret  text,                         -- also used for signatures for a day after `rotated_at`
    rotated_at  timestamptz,
    kinds       text[] NOT NULL,
    created_by  text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX notice_channel_account ON notice_channel (account_id);

-- Each notice once: `name` identifies it, for example with the threshold and the period.
CREATE TABLE notice (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    account_id  text NOT NULL REFERENCES account,
    kind        text NOT NULL,
    name        text NOT NULL,
    subject     text NOT NULL,
    text        text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (account_id, name)
);

CREATE TABLE notice_delivery (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    notice_id     uuid NOT NULL REFERENCES notice ON DELETE CASCADE,
    channel_id    bigint NOT NULL REFERENCES notice_channel ON DELETE CASCADE,
    attempts      integer NOT NULL DEFAULT 0,
    next_at       timestamptz DEFAULT now(),  -- NULL: delivered or given up
    delivered_at  timestamptz,
    error         text,
    UNIQUE (notice_id, channel_id)
);
CREATE INDEX notice_delivery_next ON notice_delivery (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX notice_delivery_channel ON notice_delivery (channel_id);
