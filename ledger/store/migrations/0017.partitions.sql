-- A store says which partition of which ledger it is, so that no program takes it for another one.
-- beside: yes

-- `group_id` is the id that all partitions of a ledger share. The only partition of a ledger has none, and the ledger's
-- own id instead.
ALTER TABLE ledger_identity
    ADD COLUMN partition smallint NOT NULL DEFAULT 0,
    ADD COLUMN partitions smallint NOT NULL DEFAULT 1,
    ADD COLUMN group_id uuid,
    ADD CONSTRAINT identity_is_of_a_partition
        CHECK (partitions BETWEEN 1 AND 1024 AND (partitions::integer & (partitions - 1)) = 0
               AND partition >= 0 AND partition < partitions),
    ADD CONSTRAINT identity_has_a_group CHECK ((partitions > 1) = (group_id IS NOT NULL));
