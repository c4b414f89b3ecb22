-- The process that sent a spool's last batch, by the spool of its own: its own one, or that of the process that adopted it.
ALTER TABLE spool ADD COLUMN owner text;
