"""Proves that an answer over HTTP comes from a process that this service has started, and not from another program.

Another ledger may listen at the same address, and would say that it is ready too. So the supervisor gives each process
that it starts a random proof in its environment, and the process shows it with its readiness.
"""

import os
import secrets
from collections.abc import Mapping
from typing import Final

HEADER: Final = "Ledger-Process"

_VARIABLE: Final = "PAYMENT_LEDGER_PROCESS"


def new_proof() -> str:
    """Make a proof for a process that is about to start."""
    return secrets.token_hex(16)


def environment_with(environment: Mapping[str, str], proof: str) -> dict[str, str]:
    """Return the environment of a process with its proof."""
    return {**environment, _VARIABLE: proof}


def proof_headers() -> dict[str, str]:
    """Return the header with this process's own proof; none for a process that the supervisor did not start."""
    proof = os.environ.get(_VARIABLE, "")
    return {HEADER: proof} if proof else {}
