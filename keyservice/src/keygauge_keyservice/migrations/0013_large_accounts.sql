-- What pages of an account with very many keys are read by: a few rows of an index, not all keys.

CREATE INDEX key_account_created ON key (account_id, created_at, id);
DROP INDEX key_account;
CREATE INDEX key_created ON key (created_at DESC, id);               -- for operators: every account
CREATE INDEX limit_state_account ON limit_state (account_id);

ALTER TABLE key_address ADD COLUMN account_id text;                  -- the key's
UPDATE key_address SET account_id = key.account_id FROM key WHERE key.id = key_id;
CREATE INDEX key_address_account ON key_address (account_id, first_at);
