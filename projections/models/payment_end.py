"""The read model of payment ends: how many payments succeeded and failed, by kind and currency.

A payment that fails, is requeued and then succeeds has two ends here, as in the counters.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from ledger.domain.events import PaymentFailed, PaymentSucceeded
from ledger.store.array_parameters import Bigints, Words
from ledger.store.statements import load_statements
from projections.contract.log_page import Connection, Placed
from projections.contract.read_model import ReadModel, Table
from projections.contract.table_names import aimed

SQL: Final = load_statements("projections.models", "payment_end.sql")

ENDS: Final = {PaymentSucceeded: "succeeded", PaymentFailed: "failed"}

Key = tuple[str, str, str]
"""A kind, a currency, and an end."""


def fold(events: Iterable[Placed]) -> Mapping[Key, int]:
    """Count the ends of a page's payments."""
    return Counter(
        (recorded.data.kind, recorded.data.currency, ENDS[type(recorded.data)])
        for _, recorded in events
        if isinstance(recorded.data, PaymentSucceeded | PaymentFailed)
    )


def store(connection: Connection, counted: Mapping[Key, int], suffix: str) -> None:
    """Send the counts, to be added to the table."""
    if counted:
        kinds, currencies, ends = zip(*(keys := sorted(counted)), strict=True)
        parameters = {
            "kind": Words(kinds),
            "currency": Words(currencies),
            "ended": Words(ends),
            "payments": Bigints([counted[key] for key in keys]),
        }
        connection.execute(aimed(SQL["add_ends"], suffix), parameters, prepare=True)


MODEL: Final = ReadModel(
    name="payment_end",
    tables=(
        Table(name="payment_end", key=("kind", "currency", "ended"), columns=("kind", "currency", "ended", "payments")),
    ),
    fold=fold,
    store=store,
)
