"""Events of accounts and events of payments: each is one of the two."""

from typing import Any

import pytest
from msgspec.structs import replace

from ledger.domain.events import EVENT_BY_TOPIC
from projections.contract.event_kinds import account_of, is_of_account, is_of_payment
from tests.support.histories import History


@pytest.mark.parametrize("topic", EVENT_BY_TOPIC)
def test_an_event_belongs_to_an_account_or_to_a_payment(topic: str) -> None:
    """As its topic says."""
    event_class: Any = EVENT_BY_TOPIC[topic]
    event = event_class(**dict.fromkeys(event_class.__struct_fields__))

    assert is_of_account(event) == topic.startswith("account.")
    assert is_of_payment(event) == topic.startswith("payment.")


def test_the_account_of_an_event_is_that_of_its_stream() -> None:
    """However often it is asked for."""
    history = History()
    history.open()
    ((_, recorded),) = history.events

    assert [account_of(replace(recorded, originator_id=f"account-{number}")) for number in (7, 1025, 7)] == [7, 1025, 7]
