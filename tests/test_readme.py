"""The README keeps its word: what it lists is what there is."""

from decimal import Decimal
from pathlib import Path

import pytest

from processors.chaos_gateway_plan import KINDS, Behaviour
from processors.demo_gateway_plan import MAGIC_AMOUNTS

CHECKOUT = Path(__file__).resolve().parent.parent
README = (CHECKOUT / "README.md").read_text()


@pytest.mark.parametrize("amount", MAGIC_AMOUNTS)
def test_each_magic_amount_is_listed_with_what_it_does(amount: Decimal) -> None:
    """Integrators try their handling of a bad gateway by this table."""
    magic = MAGIC_AMOUNTS[amount]

    assert f"| {amount} | {magic.what} | {magic.ends} |" in README


@pytest.mark.parametrize("behaviour", Behaviour)
def test_each_behaviour_of_the_chaos_gateway_is_listed_with_what_it_is(behaviour: Behaviour) -> None:
    """The counts that the gateway gives are read by this table."""
    assert f"| `{behaviour.value}` | {KINDS[behaviour].what} |" in README
