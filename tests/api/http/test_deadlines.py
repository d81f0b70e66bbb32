"""A deadline shared by many tasks: each task has its own limit, and no cancellation by others is lost."""

import asyncio
import time

import pytest

from api.http.deadlines import CHECK_SECONDS, FutureDeadlines, SharedDeadline

pytestmark = pytest.mark.anyio

LIMIT_SECONDS = 0.06


async def forever() -> None:
    """Wait without an end."""
    await asyncio.get_running_loop().create_future()


async def ignore_cancellation() -> str:
    """Return although the task was cancelled."""
    try:
        await forever()
    except asyncio.CancelledError:
        return "still here"
    raise AssertionError


async def test_a_task_in_time_gets_its_result() -> None:
    """The deadline does not touch it later."""
    limit = SharedDeadline(LIMIT_SECONDS)

    result = await limit.keep(asyncio.sleep(0, "done"))
    await asyncio.sleep(2 * LIMIT_SECONDS)

    assert result == "done"


async def test_a_late_task_is_cancelled() -> None:
    """It gets a TimeoutError, not before the limit, and then counts as not cancelled."""
    limit = SharedDeadline(LIMIT_SECONDS)
    began = time.monotonic()

    with pytest.raises(TimeoutError):
        await limit.keep(forever())

    assert time.monotonic() - began >= LIMIT_SECONDS
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_an_error_is_raised_unchanged() -> None:
    """The deadline adds nothing to it."""
    limit = SharedDeadline(LIMIT_SECONDS)

    async def fail() -> None:
        raise ValueError("as it is")

    with pytest.raises(ValueError, match="as it is"):
        await limit.keep(fail())


async def test_each_task_has_its_own_limit() -> None:
    """Tasks that start later end later, and tasks in time are not cancelled."""
    limit = SharedDeadline(LIMIT_SECONDS)
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


async def test_the_timer_starts_again_with_the_next_task() -> None:
    """It stops when the last task has ended."""
    limit = SharedDeadline(LIMIT_SECONDS)
    await limit.keep(asyncio.sleep(0))
    await asyncio.sleep(LIMIT_SECONDS)

    with pytest.raises(TimeoutError):
        await limit.keep(forever())


async def test_a_cancellation_by_others_stays_a_cancellation() -> None:
    """It does not become a TimeoutError."""
    limit = SharedDeadline(LIMIT_SECONDS)
    task = asyncio.create_task(limit.keep(forever()))
    await asyncio.sleep(0)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_task_that_is_late_and_cancelled_is_cancelled() -> None:
    """A cancellation that comes at the same time as the deadline is not lost in a TimeoutError."""
    limit = SharedDeadline(LIMIT_SECONDS)
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


async def test_a_late_task_may_still_return() -> None:
    """Its result is returned, and the task counts as not cancelled."""
    limit = SharedDeadline(LIMIT_SECONDS)

    result = await limit.keep(ignore_cancellation())

    task = asyncio.current_task()
    assert task is not None
    assert (result, task.cancelling()) == ("still here", 0)


async def test_a_call_may_have_a_limit_of_its_own() -> None:
    """The second read of a request has only the rest of its time."""
    limit = SharedDeadline(LIMIT_SECONDS)
    patient = asyncio.create_task(limit.keep(forever(), within_seconds=60.0))

    with pytest.raises(TimeoutError):
        await limit.keep(forever(), within_seconds=0.0)
    await asyncio.sleep(3 * LIMIT_SECONDS)

    assert not patient.done()
    patient.cancel()


async def test_a_late_future_ends_with_an_error() -> None:
    """Not before its limit; those that are done, or have longer, stay as they are."""
    deadlines = FutureDeadlines()
    late, done, longer = (asyncio.get_running_loop().create_future() for _ in range(3))
    done.set_result("done")
    began = time.monotonic()

    deadlines.add(late, within_seconds=LIMIT_SECONDS)
    deadlines.add(done, within_seconds=LIMIT_SECONDS)
    deadlines.add(longer, within_seconds=3 * CHECK_SECONDS)
    with pytest.raises(TimeoutError):
        await late

    assert time.monotonic() - began >= LIMIT_SECONDS
    assert done.result() == "done"
    assert not longer.done()
    with pytest.raises(TimeoutError):
        await longer


async def test_futures_are_watched_again_after_a_pause() -> None:
    """The timer stops while there are none."""
    deadlines = FutureDeadlines()
    for _ in range(2):
        future = asyncio.get_running_loop().create_future()
        deadlines.add(future, within_seconds=0)
        with pytest.raises(TimeoutError):
            await future
