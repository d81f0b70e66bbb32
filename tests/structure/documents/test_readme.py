"""The gateways that we bring along behave as the pages say."""

from decimal import Decimal
from typing import Final

import pytest

from processors.simulators.chaos.scenario import KINDS, Behaviour
from processors.simulators.demo.scenario import MAGIC_AMOUNTS
from projections.models.counters import NAMES
from tests.support.documents import CHECKOUT

INTEGRATE: Final = (CHECKOUT / "docs/guides/integrate.md").read_text("utf-8")
CHAOS: Final = (CHECKOUT / "docs/reference/chaos-gateway.md").read_text("utf-8")
MONITOR: Final = (CHECKOUT / "docs/guides/operate/monitor.md").read_text("utf-8")


@pytest.mark.parametrize("amount", MAGIC_AMOUNTS)
def test_each_magic_amount_is_listed_with_what_it_does(amount: Decimal) -> None:
    """Integrators test their handling of a bad gateway by this table."""
    magic = MAGIC_AMOUNTS[amount]

    assert f"| {amount} | {magic.what} | {magic.ends} |" in INTEGRATE


@pytest.mark.parametrize("behaviour", Behaviour)
def test_each_behaviour_of_the_chaos_gateway_is_listed_with_what_it_is(behaviour: Behaviour) -> None:
    """The table explains the gateway's counts of its behaviours."""
    assert f"| `{behaviour.value}` | {KINDS[behaviour].what} |" in CHAOS


@pytest.mark.parametrize("name", NAMES)
def test_each_counter_is_listed(name: str) -> None:
    """Operators read the metrics by this table."""
    assert f"| `{name}` | " in MONITOR
