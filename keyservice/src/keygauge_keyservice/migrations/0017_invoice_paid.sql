-- Whether what was billed is paid.

ALTER TABLE invoice ADD COLUMN paid_at timestamptz;  -- said by an operator; NULL: it is due
