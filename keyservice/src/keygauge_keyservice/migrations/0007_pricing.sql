-- Own prices, which take precedence over the public price list. Append-only: a later row for the same model, provider and
-- account applies from its `valid_from` on, and one with the same `valid_from` corrects the previous one.

CREATE TABLE price (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- 'own <id>' is the price_version of calls priced by it
    model       text NOT NULL,                -- as named in responses, in lower case
    provider    text,                         -- NULL: any provider
    account_id  text REFERENCES account,      -- NULL: every account
    valid_from  timestamptz NOT NULL,
    tiers       jsonb NOT NULL,               -- rates by input size, smallest first; integer nano-USD per million
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX price_model ON price (model);
CREATE INDEX price_account ON price (account_id) WHERE account_id IS NOT NULL;  -- to mark the key entries of these accounts
