"""Random scripts for the steered gateway: a few faults, a last answer, and an answer to inquiries."""

from random import Random
from typing import Final

from tests.support.gateways.steered import Inquiring, Script, Step

FAULTS: Final = [
    Step("429"),
    Step("502"),
    Step("502", moves=True),
    Step("garbage", moves=True),
    Step("reset"),
    Step("pending"),
]
ENDINGS: Final = [
    Step("ok"),
    Step("ok"),
    Step("ok"),
    Step("declined"),
    Step("402"),
    Step("reset", moves=True),
    Step("429"),
]
INQUIRIES: Final[list[Inquiring]] = ["truth", "truth", "truth", "pending", "500", "404"]
LATE: Final = Script(steps=[Step("reset")], late=True)
"""The money of the first call moves after the gateway has said that it does not know the payment."""


def a_script(dice: Random) -> Script:
    """Draw a script: a few faults, then a last answer that is repeated."""
    faults = [dice.choice(FAULTS) for _ in range(dice.choice([0, 0, 1, 1, 2, 3]))]
    if dice.choice([True, False, False, False, False]):
        return LATE
    return Script(steps=[*faults, dice.choice(ENDINGS)], inquiry=dice.choice(INQUIRIES))
