-- Limits of input and output apart. Every row fits the new constraint, which locks the table for milliseconds.

ALTER TABLE plan_limit DROP CONSTRAINT plan_limit_unit_check;
ALTER TABLE plan_limit ADD CONSTRAINT plan_limit_unit_check
    CHECK (unit IN ('request', 'token', 'input_token', 'output_token', 'nanousd', 'concurrent'));
