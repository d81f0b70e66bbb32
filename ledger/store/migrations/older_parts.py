"""Which parts of an older program may run on a store that a migration has changed.

Each migration says it in a comment, and the store keeps these words. So a program reads them for migrations that it
does not have, and knows whether it may start:

    -- beside: yes
    -- beside: api, worker: the projector stops at the first operation.gateway_changed
    -- beside: no: it renames tables that all parts use

The first words are the parts that may run; the rest says why the others may not. A part that may run loses no payment
and settles none twice, whatever the parts of the newer program do in the same store at the same time.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from msgspec import Struct

from ledger.errors import StoreBroken

PARTS: Final = ("api", "worker", "projector")
"""The parts of the service that use the store."""

_SAID: Final = re.compile(r"^-- beside: (?P<words>.+(?:\n--   .+)*)$", re.MULTILINE)
_SOME: Final = r"(?:api|worker|projector)(?:, (?:api|worker|projector))*"
FORM: Final = re.compile(rf"(?P<who>yes(?=$|: .)|(?:no|{_SOME})(?=: .)).*")
"""The words that a migration says. Only `yes` stands without a reason."""


class Beside(Struct, frozen=True):
    """The parts of an older program that may run on the migrated store, and why the others may not."""

    words: str
    parts: tuple[str, ...]

    @classmethod
    def of(cls, words: str | None) -> "Beside":
        """Read the words of a migration. Without words, or with words of a form that is not known, no part may run."""
        if words is None:
            return cls("no: it does not say who may", ())
        who = "no" if (found := FORM.fullmatch(words)) is None else found["who"]
        return cls(words, PARTS if who == "yes" else tuple(part for part in PARTS if part in who))

    def bars(self, parts: Collection[str]) -> bool:
        """Tell whether one of the parts may not run."""
        return not set(parts) <= set(self.parts)


def said_in(text: str) -> str | None:
    """Return what the text of a migration says, on one line; None when it says nothing."""
    found = _SAID.search(text)
    return None if found is None else re.sub(r"\n--   ", " ", found["words"])


def in_words(migrations: Sequence[tuple[str, Beside]]) -> str:
    """Return migrations with what they say, for an error."""
    return "; ".join(f"{name} ({beside.words})" for name, beside in migrations)


@dataclass(eq=False, kw_only=True)
class OlderPartsAlive(StoreBroken):
    """Parts of the older program still run, which they may not do after the migration; stop them, and migrate again.

    `payment-ledger migrate --regardless` migrates beside them.
    """

    code = "older_parts_alive"
    alive: str
    migrations: str

    def __str__(self) -> str:
        """Return what to do, the parts, and the migrations with their reasons."""
        return (
            f"The older program still runs: {self.alive}. Stop it, and its API, which leaves no heartbeat. Then migrate"
            f" again; nothing has changed. `payment-ledger migrate --regardless` migrates beside it. Why:"
            f" {self.migrations}."
        )
