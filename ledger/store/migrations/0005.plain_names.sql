-- Plainer names: the tables log_head, projection_tracking and ledger_identity, the column `inactive` for a store that
-- may not be appended to, and the dead letter state `contradicted` for a payment whose gateway contradicted its end.
-- beside: no: it renames tables that all parts use

ALTER TABLE head RENAME TO log_head;
ALTER TABLE log_head RENAME CONSTRAINT head_pkey TO log_head_pkey;
ALTER TABLE log_head RENAME CONSTRAINT head_is_one_row TO log_head_is_one_row;
ALTER TABLE log_head RENAME CONSTRAINT head_position_counts TO log_head_position_counts;
ALTER TABLE log_head RENAME CONSTRAINT head_counters_count TO log_head_counters_count;
ALTER TABLE log_head RENAME COLUMN withheld TO inactive;

ALTER TABLE identity RENAME TO ledger_identity;
ALTER TABLE ledger_identity RENAME CONSTRAINT identity_pkey TO ledger_identity_pkey;
ALTER TABLE ledger_identity RENAME CONSTRAINT identity_is_one_row TO ledger_identity_is_one_row;

ALTER TABLE tracking RENAME TO projection_tracking;
ALTER TABLE projection_tracking RENAME CONSTRAINT tracking_pkey TO projection_tracking_pkey;
ALTER TABLE projection_tracking RENAME CONSTRAINT tracking_position_counts TO projection_tracking_position_counts;

ALTER TABLE dead_letter DROP CONSTRAINT dead_letter_state;
UPDATE dead_letter SET state = 'contradicted' WHERE state = 'reconcile';
ALTER TABLE dead_letter ADD CONSTRAINT dead_letter_state CHECK (state IN ('failed', 'in_doubt', 'contradicted'));
