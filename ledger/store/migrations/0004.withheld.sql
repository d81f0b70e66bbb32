-- An imported store is a copy of a ledger until an operator declares it to be the ledger. While it is withheld, nothing
-- can be appended to it: the flag is in the row that every append must lock and therefore reads.
-- beside: no: the program before appends to a store that is withheld

ALTER TABLE head ADD COLUMN withheld boolean NOT NULL DEFAULT false;
