"""Callers who wait for an answer, in a thread or on an event loop, and how their answers get there."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, TypeVar

from msgspec import Struct

from ledger.commands import AnyCommand
from ledger.errors import LedgerError

AnswerT = TypeVar("AnswerT")

AnyFuture = Future[Any] | asyncio.Future[Any]


class Waiting(Struct, frozen=True):
    """A command, and where its answer goes: to a thread or to an event loop."""

    command: AnyCommand
    future: AnyFuture


async def all_answers(futures: Sequence["asyncio.Future[AnswerT]"]) -> list[AnswerT | LedgerError]:
    """Wait for several answers; refusals and other errors of ours stand among them."""
    answers: list[AnswerT | LedgerError] = []
    for future in futures:
        try:
            answers.append(await future)
        except LedgerError as error:
            answers.append(error)
    return answers


def answer_all(answers: Sequence[tuple[Waiting, Any]]) -> None:
    """Answer callers; those of one event loop together, as waking a loop costs more than an answer."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for waiting, answer in answers:
        future = waiting.future
        if isinstance(future, asyncio.Future):
            by_loop.setdefault(future.get_loop(), []).append((future, answer))
        else:
            _settle(future, answer)
    for loop, pairs in by_loop.items():
        # The loop may have been closed meanwhile; then nobody waits any more.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle_all, pairs)


def _settle_all(pairs: list[tuple["asyncio.Future[Any]", Any]]) -> None:
    for future, answer in pairs:
        _settle(future, answer)


def _settle(future: AnyFuture, answer: object) -> None:
    with suppress(InvalidStateError, asyncio.InvalidStateError):  # whoever has cancelled his future waits no more
        if isinstance(answer, LedgerError):
            future.set_exception(answer)
        else:
            future.set_result(answer)
