-- Kinds of use beyond the five counts of tokens: an object of counts, null for nearly every call.
ALTER TABLE event ADD COLUMN details jsonb;
