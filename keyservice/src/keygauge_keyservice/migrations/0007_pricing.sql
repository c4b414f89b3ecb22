-- Own prices: they come before the public price list. Append-only: a later row of the same model, provider and account
-- takes over from its `valid_from` on, and one with the same `valid_from` corrects the one before.

CREATE TABLE price (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- 'own <id>' is the price_version of what it priced
    model       text NOT NULL,                -- as answers name it, lower case
    provider    text,                         -- NULL: whoever it is
    account_id  text REFERENCES account,      -- NULL: every account
    valid_from  timestamptz NOT NULL,
    tiers       jsonb NOT NULL,               -- rates by input size, smallest first; whole nano-USD per million
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX price_model ON price (model);
CREATE INDEX price_account ON price (account_id) WHERE account_id IS NOT NULL;  -- whose keys' entries say so
