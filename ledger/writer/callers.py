"""Callers who wait for an answer in a thread or on an event loop, and the delivery of answers to them."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, TypeVar

from msgspec import Struct

from ledger.domain.commands import AnyCommand
from ledger.errors import LedgerError

AnswerT = TypeVar("AnswerT")

AnyFuture = Future[Any] | asyncio.Future[Any]


class PendingCommand(Struct, frozen=True):
    """A command, the future of its answer (for a thread or an event loop), and its arrival on the monotonic clock.

    `alone` says that it came by itself, and not with other commands of one caller.
    """

    command: AnyCommand
    future: AnyFuture
    arrived: float
    alone: bool


async def all_answers(futures: Sequence["asyncio.Future[AnswerT]"]) -> list[AnswerT | LedgerError]:
    """Wait for several answers. Refusals and other errors of the ledger are elements of the list."""
    answers: list[AnswerT | LedgerError] = []
    for future in futures:
        try:
            answers.append(await future)
        except LedgerError as error:
            answers.append(error)
    return answers


def answer_all(answers: Sequence[tuple[PendingCommand, Any]]) -> None:
    """Answer callers, those of one event loop together, because waking a loop costs more than an answer."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for waiting, answer in answers:
        future = waiting.future
        if isinstance(future, asyncio.Future):
            by_loop.setdefault(future.get_loop(), []).append((future, answer))
        else:
            _settle(future, answer)
    for loop, pairs in by_loop.items():
        # The loop may be closed by now. Then nobody waits for these answers.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle_all, pairs)


def _settle_all(pairs: list[tuple["asyncio.Future[Any]", Any]]) -> None:
    for future, answer in pairs:
        _settle(future, answer)


def _settle(future: AnyFuture, answer: object) -> None:
    with suppress(InvalidStateError, asyncio.InvalidStateError):  # the caller has cancelled the future
        if isinstance(answer, LedgerError):
            future.set_exception(answer)
        else:
            future.set_result(answer)
