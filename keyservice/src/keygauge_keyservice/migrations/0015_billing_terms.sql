-- A month is billed by the plan and the price that it had, whatever changed since; and what came after an invoice is on the next one.

ALTER TABLE plan ADD COLUMN prorated boolean NOT NULL DEFAULT false;    -- billed by the day; else the plan at month end, whole
ALTER TABLE invoice ADD COLUMN late_nanousd bigint NOT NULL DEFAULT 0;  -- usage of earlier months that came after their invoices
ALTER TABLE invoice ADD COLUMN lines jsonb NOT NULL DEFAULT '[]';       -- what the total is made of; none: closed by an older version

-- What was in force until a moment; what is in force now is in the rows themselves. Triggers write it, so that no way to change a
-- plan or an account goes past it, key services of the version before included.
CREATE TABLE plan_price_before (
    plan_id         text NOT NULL REFERENCES plan ON DELETE CASCADE,
    until           timestamptz NOT NULL,
    monthly_nanousd bigint,
    prorated        boolean NOT NULL,
    PRIMARY KEY (plan_id, until)
);

CREATE TABLE account_plan_before (
    account_id  text NOT NULL REFERENCES account ON DELETE CASCADE,
    until       timestamptz NOT NULL,
    plan_id     text NOT NULL,
    PRIMARY KEY (account_id, until)
);

CREATE FUNCTION keep_plan_price() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO plan_price_before VALUES (OLD.id, clock_timestamp(), OLD.monthly_nanousd, OLD.prorated)
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER keep_price AFTER UPDATE ON plan FOR EACH ROW
    WHEN (OLD.monthly_nanousd IS DISTINCT FROM NEW.monthly_nanousd OR OLD.prorated <> NEW.prorated)
    EXECUTE FUNCTION keep_plan_price();

CREATE FUNCTION keep_account_plan() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO account_plan_before VALUES (OLD.id, clock_timestamp(), OLD.plan_id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER keep_plan AFTER UPDATE OF plan_id ON account FOR EACH ROW
    WHEN (OLD.plan_id <> NEW.plan_id) EXECUTE FUNCTION keep_account_plan();
