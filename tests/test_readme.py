"""The README keeps its word: what it lists is what there is."""

import re
from decimal import Decimal
from pathlib import Path

import pytest

from processors.demo_gateway_plan import MAGIC_AMOUNTS

CHECKOUT = Path(__file__).resolve().parent.parent
README = (CHECKOUT / "README.md").read_text()


@pytest.mark.parametrize("amount", MAGIC_AMOUNTS)
def test_each_magic_amount_is_listed_with_what_it_does(amount: Decimal) -> None:
    """Integrators try their handling of a bad gateway by this table."""
    magic = MAGIC_AMOUNTS[amount]

    assert f"| {amount} | {magic.what} | {magic.ends} |" in README


def test_every_setting_of_the_example_is_read() -> None:
    """A name that nobody reads would be set in vain."""
    named = set(re.findall(r"^([A-Z_]+)=", (CHECKOUT / ".env.example").read_text(), re.MULTILINE))
    read = set(re.findall(r'read\(\s*"([A-Z_]+)"', (CHECKOUT / "ledger" / "settings.py").read_text()))
    compose = set(re.findall(r"\$\{([A-Z_]+)", (CHECKOUT / "docker-compose.yml").read_text()))

    assert read - named == {"DEMO_GATEWAY_HOST"}  # where the demo gateway listens is for compose to say
    assert named - read <= compose
