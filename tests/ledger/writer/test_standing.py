"""The requests that wait for the result of the writer's next try."""

import asyncio

from ledger.writer.standing import WriterStanding


def test_a_waiter_that_has_gone_harms_no_other() -> None:
    """A client may have closed its connection."""

    async def ask() -> bool:
        standing = WriterStanding()
        gone, waiting = standing.ask(), standing.ask()
        gone.cancel()
        standing.succeeded()
        return await waiting

    assert asyncio.run(ask())
