"""The refusals to import a log, and to activate or retire a store, as part of the ledger's one tree of errors."""

from dataclasses import dataclass

from ledger.errors import Refusal


@dataclass(eq=False, kw_only=True)
class ExportInvalid(Refusal):
    """The file is not a complete export of a ledger."""

    code = "export_invalid"
    line: int
    what: str


@dataclass(eq=False, kw_only=True)
class StoreNotEmpty(Refusal):
    """A log can only be imported into an empty store."""

    code = "store_not_empty"
    position: int


class StoreInCharge(Refusal):
    """The store is already in charge; only an imported copy can be activated."""

    code = "store_in_charge"


@dataclass(eq=False, kw_only=True)
class CopyBehind(Refusal):
    """The store to retire has more events than the copy; export them, and import the whole file into an empty store."""

    code = "copy_behind"
    position: int
    copied: int


@dataclass(eq=False, kw_only=True)
class NotThePredecessor(Refusal):
    """The store to retire is not the one that the copy was made from."""

    code = "not_the_predecessor"
    why: str
