-- A payment may be contradicted more than once, a series each; what counts is how many are still to be reconciled.
-- depends: 0002.read_models

ALTER TABLE payment_status ALTER COLUMN contradicted DROP DEFAULT;
ALTER TABLE payment_status ALTER COLUMN contradicted TYPE integer USING contradicted::integer;
ALTER TABLE payment_status ALTER COLUMN contradicted SET DEFAULT 0;
ALTER TABLE payment_status RENAME COLUMN contradicted TO contradictions;
ALTER TABLE payment_status ADD CONSTRAINT payment_status_contradictions_count CHECK (contradictions >= 0);
