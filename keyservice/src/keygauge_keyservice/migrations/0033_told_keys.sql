-- Which service was told of which key: it may report usage of no other, spend no other's limits and hear of no other's changes.
-- A service is the name of its tokens; the environment's token is the service without a name.

CREATE TABLE told_key (
    service  text NOT NULL,
    key_id   text NOT NULL REFERENCES key ON DELETE CASCADE,
    PRIMARY KEY (service, key_id)
);

-- Until now nobody noted it: replicas that run know keys which they will not ask about again.
INSERT INTO told_key (service, key_id)
SELECT service.name, key.id FROM key
CROSS JOIN (SELECT '' AS name UNION SELECT name FROM token WHERE kind = 'service') AS service;

-- Events that the ledger did not take, with the reason; an operator may have them taken.

CREATE TABLE event_aside (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    spool_id  text NOT NULL,
    number    bigint NOT NULL,                -- in its spool
    service   text NOT NULL,                  -- whose token brought it
    reason    text NOT NULL,
    key_id    text,                           -- as the event says, where it can be read
    line      bytea NOT NULL
);

-- Prometheus gets a token that opens nothing but metrics; a service's token no longer opens those.

ALTER TABLE token DROP CONSTRAINT token_kind_check;
ALTER TABLE token ADD CONSTRAINT token_kind_check CHECK (kind IN ('service', 'admin', 'metrics'));
