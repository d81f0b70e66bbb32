-- A store whose successor has taken over must never start again: two stores in charge of one ledger would pay twice.
-- beside: yes: a retired store refuses the commands of older parts too

-- One row in a store that another one has succeeded, for good; none in every other store. `successor` names the other
-- one for operators, and `position` is the last position of this log, from which the other one went on.
CREATE TABLE store_retirement (
    only_row boolean NOT NULL DEFAULT true,
    successor text NOT NULL,
    position bigint NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT store_retirement_pkey PRIMARY KEY (only_row),
    CONSTRAINT store_retirement_is_one_row CHECK (only_row)
);
