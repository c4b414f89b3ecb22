-- From which addresses a key was used, so that a new one is noticed without reading its calls.

CREATE TABLE key_address (
    key_id    text NOT NULL REFERENCES key,
    ip        text NOT NULL,
    first_at  timestamptz NOT NULL,
    last_at   timestamptz NOT NULL,           -- moved once a day at most
    PRIMARY KEY (key_id, ip)
);
CREATE INDEX key_address_first ON key_address (key_id, first_at);

INSERT INTO key_address (key_id, ip, first_at, last_at)
SELECT key_id, ip, min(time), max(time) FROM event JOIN key ON key.id = key_id WHERE ip IS NOT NULL GROUP BY 1, 2;
