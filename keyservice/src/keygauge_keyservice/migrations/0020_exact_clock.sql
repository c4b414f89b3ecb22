-- When a unit was spent, by the clock that the processes of one host share: so a caller on a fixed schedule is not delayed.

ALTER TABLE limit_state
    ADD COLUMN clock text NOT NULL DEFAULT '',        -- of a rate: whose readings the stamps are
    ADD COLUMN stamps bigint[] NOT NULL DEFAULT '{}'; -- microseconds; one for each of the ends, 0 where it is not known
