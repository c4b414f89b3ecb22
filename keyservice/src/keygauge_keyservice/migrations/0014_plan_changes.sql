-- A changed plan is one entry of the feed, however many keys use it. Key services of the version before pass it over: see
-- docs/operate/upgrades.md.

ALTER TABLE key_change ADD COLUMN plan_id text;
ALTER TABLE key_change ALTER COLUMN key_id DROP NOT NULL;
ALTER TABLE key_change ADD CONSTRAINT key_change_one CHECK (num_nonnulls(key_id, plan_id) = 1);
