"""A limit of time: kept for each task by itself, and no cancellation of somebody else's is lost in it."""

import asyncio
import time

import pytest

from api.time_limit import TimeLimit

pytestmark = pytest.mark.anyio

LIMIT_SECONDS = 0.06


async def forever() -> None:
    """Wait for what never comes."""
    await asyncio.get_running_loop().create_future()


async def shrug() -> str:
    """Take no notice of being cancelled."""
    try:
        await forever()
    except asyncio.CancelledError:
        return "still here"
    raise AssertionError


async def test_what_is_in_time_gives_its_result() -> None:
    """Nothing else happens to it, however long the task then lives."""
    limit = TimeLimit(LIMIT_SECONDS)

    result = await limit.keep(asyncio.sleep(0, "done"))
    await asyncio.sleep(2 * LIMIT_SECONDS)

    assert result == "done"


async def test_what_is_late_is_ended() -> None:
    """Not before the limit, and not long after it; the task itself lives on."""
    limit = TimeLimit(LIMIT_SECONDS)
    began = time.monotonic()

    with pytest.raises(TimeoutError):
        await limit.keep(forever())

    assert time.monotonic() - began >= LIMIT_SECONDS
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_an_error_comes_through() -> None:
    """As it was raised."""
    limit = TimeLimit(LIMIT_SECONDS)

    async def fail() -> None:
        raise ValueError("as it is")

    with pytest.raises(ValueError, match="as it is"):
        await limit.keep(fail())


async def test_each_task_has_time_of_its_own() -> None:
    """Those that begin later end later, and the ones in time are not touched."""
    limit = TimeLimit(LIMIT_SECONDS)
    ends: dict[str, float] = {}

    async def run(name: str, *, begin_after_seconds: float) -> None:
        await asyncio.sleep(begin_after_seconds)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await limit.keep(forever())
        ends[name] = time.monotonic() - began

    async def short() -> str:
        return await limit.keep(asyncio.sleep(0, "in time"))

    _, _, result = await asyncio.gather(
        run("early", begin_after_seconds=0), run("late", begin_after_seconds=LIMIT_SECONDS / 2), short()
    )

    assert list(ends) == ["early", "late"]
    assert min(ends.values()) >= LIMIT_SECONDS
    assert result == "in time"


async def test_it_works_again_after_it_had_nothing_to_do() -> None:
    """Its timer stops with the last task and starts with the next."""
    limit = TimeLimit(LIMIT_SECONDS)
    await limit.keep(asyncio.sleep(0))
    await asyncio.sleep(LIMIT_SECONDS)

    with pytest.raises(TimeoutError):
        await limit.keep(forever())


async def test_somebody_elses_cancellation_stays_one() -> None:
    """It is not mistaken for lateness."""
    limit = TimeLimit(LIMIT_SECONDS)
    task = asyncio.create_task(limit.keep(forever()))
    await asyncio.sleep(0)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_task_that_is_late_and_cancelled_is_cancelled() -> None:
    """Whoever cancels it while the limit does the same is not to be told of a time-out."""
    limit = TimeLimit(LIMIT_SECONDS)
    cancelled = asyncio.Event()

    async def end_slowly() -> None:
        try:
            await forever()
        finally:
            cancelled.set()
            await asyncio.sleep(LIMIT_SECONDS)

    task = asyncio.create_task(limit.keep(end_slowly()))
    await cancelled.wait()

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_lateness_that_is_swallowed_leaves_nothing_behind() -> None:
    """The result is given, and the task counts as not cancelled."""
    limit = TimeLimit(LIMIT_SECONDS)

    result = await limit.keep(shrug())

    task = asyncio.current_task()
    assert task is not None
    assert (result, task.cancelling()) == ("still here", 0)
