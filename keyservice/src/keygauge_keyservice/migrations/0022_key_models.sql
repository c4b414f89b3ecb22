-- Which models a key may be used for.

ALTER TABLE key ADD COLUMN models text[] NOT NULL DEFAULT '{}';  -- as calls name them, '…*' for all that begin so; none: all
