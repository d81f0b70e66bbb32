"""Dead letters: the fault of a payment, and its time."""

from typing import Any

import pytest

from projections.models.dead_letter import CONTRADICTED
from tests.projections.models.tables import tables_of
from tests.support.histories import FAILED, PARKED, History, go

LETTERS: list[tuple[str, list[tuple[Any, ...]], tuple[str, str, int, str] | None]] = [
    ("failed", FAILED, ("failed", "gave_up", 1, "payment.failed")),
    ("in doubt", PARKED, ("in_doubt", "no_clear_answer", 1, "payment.parked")),
    ("failed after doubt", [*PARKED, ("inquire", "declined", "fail")], ("failed", "gave_up", 1, "payment.failed")),
    ("settled after doubt", [*PARKED, ("inquire", "approved", "succeed")], None),
    ("resolved as failed", [*PARKED, ("resolve", "failed")], None),
    ("resolved as success", [*PARKED, ("resolve", "success")], None),
    ("contradicted", [*FAILED, ("late", 1, 1)], ("contradicted", CONTRADICTED, 1, "payment.contradicted")),
    ("reconciled", [*FAILED, ("late", 1, 1), ("resolve", "success")], None),
    ("requeued", [*FAILED, ("requeue",)], None),
    ("failed again", [*FAILED, ("requeue",), *FAILED], ("failed", "gave_up", 2, "payment.failed")),
    (
        "settled twice",
        [*FAILED, ("requeue",), ("late", 1, 1), ("attempt", "approved", "succeed")],
        ("contradicted", CONTRADICTED, 2, "payment.succeeded"),
    ),
    (
        "in doubt, and contradicted in an earlier series",
        [*FAILED, ("requeue",), *PARKED, ("late", 1, 1)],
        ("in_doubt", "no_clear_answer", 2, "payment.parked"),
    ),
    (
        "failed after a contradiction",
        [*FAILED, ("requeue",), ("late", 1, 1), *FAILED],
        ("contradicted", CONTRADICTED, 2, "payment.failed"),
    ),
    (
        "resolved in doubt, and still contradicted in an earlier series",
        [*FAILED, ("requeue",), *PARKED, ("late", 1, 1), ("resolve", "failed")],
        ("contradicted", CONTRADICTED, 2, "payment.failed"),
    ),
    (
        "contradicted in both series, one of them reconciled",
        [*FAILED, ("requeue",), *FAILED, ("late", 1, 1), ("late", 2, 1), ("resolve", "success")],
        ("contradicted", CONTRADICTED, 2, "payment.contradicted"),
    ),
    (
        "contradicted in both series, both reconciled",
        [
            *FAILED,
            ("requeue",),
            *FAILED,
            ("late", 1, 1),
            ("late", 2, 1),
            ("resolve", "success"),
            ("resolve", "success"),
        ],
        None,
    ),
    (
        "closed, then contradicted",
        [*FAILED, ("resolve", "failed"), ("late", 1, 1)],
        ("contradicted", CONTRADICTED, 1, "payment.contradicted"),
    ),
]


@pytest.mark.parametrize(("steps", "expected"), [row[1:] for row in LETTERS], ids=[row[0] for row in LETTERS])
def test_a_letter_says_what_is_wrong_and_since_when(
    steps: list[tuple[Any, ...]], expected: tuple[str, str, int, str] | None
) -> None:
    """State, error, attempts, and the event at whose position it lies; none when nobody has to look."""
    history = History()
    payment_id = history.deposit(history.open())

    go(history, payment_id, steps)

    tables = tables_of(history.events)
    letter = tables.letters.get(payment_id)
    found = None
    if letter is not None:
        position, recorded = history.events[letter.position - 1]
        assert letter.position == position
        assert letter.created_at == recorded.at
        found = (letter.state, letter.error, letter.attempts, recorded.data.TOPIC)
    assert expected == found
    assert tables == tables_of(*([event] for event in history.events))
