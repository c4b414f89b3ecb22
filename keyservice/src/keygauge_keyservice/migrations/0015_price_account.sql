-- A key's entry tells whether its account has prices of its own.

CREATE INDEX price_account ON price (account_id) WHERE account_id IS NOT NULL;
