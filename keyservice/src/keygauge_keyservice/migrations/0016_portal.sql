-- What members chose for themselves in the portal.

ALTER TABLE member_preference ADD COLUMN hours integer CHECK (hours IN (12, 24));  -- of a clock; NULL: as the format has it

CREATE TABLE dismissed_alert (
    member_id  bigint NOT NULL REFERENCES member ON DELETE CASCADE,
    name       text NOT NULL,
    at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (member_id, name)
);
CREATE INDEX dismissed_alert_at ON dismissed_alert (at);
