-- A payment may be contradicted more than once, once for each series, so the column counts the contradictions that are
-- not reconciled yet.
-- beside: no: it renames a column that the projector writes and the API reads

ALTER TABLE payment_status ALTER COLUMN contradicted DROP DEFAULT;
ALTER TABLE payment_status ALTER COLUMN contradicted TYPE integer USING contradicted::integer;
ALTER TABLE payment_status ALTER COLUMN contradicted SET DEFAULT 0;
ALTER TABLE payment_status RENAME COLUMN contradicted TO contradictions;
ALTER TABLE payment_status ADD CONSTRAINT payment_status_contradictions_count CHECK (contradictions >= 0);
