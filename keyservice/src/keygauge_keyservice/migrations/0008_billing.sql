-- The months that are over, as they were billed.

CREATE TABLE invoice (
    account_id      text NOT NULL REFERENCES account,
    period          date NOT NULL,            -- the first day of a UTC month
    plan_id         text NOT NULL,            -- the account's plan when the period was closed
    plan_nanousd    bigint NOT NULL,          -- that plan's monthly price, whole: plan changes are not pro-rated
    usage_nanousd   bigint NOT NULL,          -- what the ledger said when the period was closed
    requests        bigint NOT NULL,
    input_tokens    bigint NOT NULL,
    output_tokens   bigint NOT NULL,
    closed_at       timestamptz NOT NULL,
    PRIMARY KEY (account_id, period)
);
