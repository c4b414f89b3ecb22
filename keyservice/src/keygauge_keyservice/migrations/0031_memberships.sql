-- An address may be a member of many accounts, each with a password of its own. Single sign-on enters those whose
-- address an operator gave or the provider vouched for: whoever holds the link of an invitation need not be its address.

ALTER TABLE member DROP CONSTRAINT member_email_key;
CREATE UNIQUE INDEX member_email ON member (email, coalesce(account_id, ''));
ALTER TABLE member ADD COLUMN is_verified boolean NOT NULL DEFAULT false;
UPDATE member SET is_verified = true WHERE role = 'operator';
