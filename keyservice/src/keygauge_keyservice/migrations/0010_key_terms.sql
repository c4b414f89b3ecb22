-- What a key may be used for, which app uses it, and how often its secret should be replaced.

ALTER TABLE key
    ADD COLUMN app                text,                        -- the program that uses it, in its owner's words
    ADD COLUMN scopes             text[] NOT NULL DEFAULT '{}',  -- told to the metered service, which gives them meaning
    ADD COLUMN routes             text[] NOT NULL DEFAULT '{}',  -- route templates it may call, '…*' for all that begin so; none: all
    ADD COLUMN networks           text[] NOT NULL DEFAULT '{}',  -- it may be used from, in CIDR; none: from everywhere
    ADD COLUMN rotate_every_days  integer CHECK (rotate_every_days BETWEEN 1 AND 3650);  -- the portal reminds
