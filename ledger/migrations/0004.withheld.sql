-- A store that was imported is a copy of a ledger until somebody says that it is the ledger now. As long as it is
-- withheld, nothing is appended to it; the flag stands in the row that whoever appends has to lock and so to read.
-- depends: 0003.contradictions

ALTER TABLE head ADD COLUMN withheld boolean NOT NULL DEFAULT false;
