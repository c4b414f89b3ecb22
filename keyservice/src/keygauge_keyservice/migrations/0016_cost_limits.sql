-- Limits of cost, told in dollars or in credits.

ALTER TABLE plan_limit
    ADD COLUMN credit_nanousd bigint CHECK (credit_nanousd > 0),  -- people see the amount in credits of so much
    ADD COLUMN when_unpriced text NOT NULL DEFAULT 'admit' CHECK (when_unpriced IN ('admit', 'refuse')),
    ADD CHECK (unit = 'nanousd' OR (credit_nanousd IS NULL AND when_unpriced = 'admit'));
