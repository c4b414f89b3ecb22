-- What an operator set, only an operator lifts: a disabled key, terms that restrict one, limits of its own.

ALTER TABLE key ADD COLUMN locked_status boolean NOT NULL DEFAULT false;  -- disabled by an operator
ALTER TABLE key ADD COLUMN locked_terms text[] NOT NULL DEFAULT '{}';     -- columns that an operator filled
ALTER TABLE plan_limit ADD COLUMN by_operator boolean NOT NULL DEFAULT false;
