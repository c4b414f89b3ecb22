-- How a member wants the portal to write times and numbers; NULL: as the browser asks.

CREATE TABLE member_preference (
    member_id  bigint PRIMARY KEY REFERENCES member ON DELETE CASCADE,
    zone       text,
    locale     text
);
