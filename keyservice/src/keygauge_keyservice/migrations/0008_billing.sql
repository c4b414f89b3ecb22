-- Invoices, and the histories of plan prices and accounts' plans.

CREATE TABLE invoice (
    account_id      text NOT NULL REFERENCES account,
    period          date NOT NULL,            -- the first day of a UTC month
    plan_id         text NOT NULL,            -- the account's plan when the period was closed
    plan_nanousd    bigint NOT NULL,          -- that plan's monthly price, or the sum of daily shares if plans are prorated
    usage_nanousd   bigint NOT NULL,          -- according to the ledger when the period was closed
    requests        bigint NOT NULL,
    input_tokens    bigint NOT NULL,
    output_tokens   bigint NOT NULL,
    closed_at       timestamptz NOT NULL,
    late_nanousd    bigint NOT NULL DEFAULT 0,    -- usage of earlier months that arrived after their invoices
    lines           jsonb NOT NULL DEFAULT '[]',  -- line items, which add up to the total
    paid_at         timestamptz,                  -- set by an operator; NULL: due
    PRIMARY KEY (account_id, period)
);

-- What was in force until a time; current values are in the plan and account rows. Triggers write these rows, so that no change
-- of a plan or an account can bypass them.
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
