"""The errors of read models.

    LedgerError
    +-- Refusal
    |   +-- RebuildUnderWay
    +-- StoreBroken
        +-- EventNotApplicable
        +-- ReadModelsChanged

The tree goes on from `ledger.errors`.
"""

from dataclasses import dataclass

from ledger.errors import Refusal, StoreBroken


@dataclass(eq=False, kw_only=True)
class RebuildUnderWay(Refusal):
    """The read models of this ledger are being rebuilt already."""

    code = "rebuild_under_way"
    schema: str


@dataclass(eq=False, kw_only=True)
class EventNotApplicable(StoreBroken):
    """A read model cannot take an event of the log."""

    code = "event_not_applicable"
    position: int
    what: str


@dataclass(eq=False, kw_only=True)
class ReadModelsChanged(StoreBroken):
    """The read models got another form while they were rebuilt; nothing was swapped, run the rebuild again."""

    code = "read_models_changed"
    schema: str
