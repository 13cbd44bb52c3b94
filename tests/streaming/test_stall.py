"""The timer for readers that stop."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest

from quart_app.errors import ClientStalled
from quart_app.streaming import StallTimer

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.asyncio(loop_scope="function")

SECONDS = 0.08


async def wait_for(waits: list[float], unsent: Callable[[], int] | None = None) -> None:
    async with StallTimer(SECONDS, unsent) as timer:
        for seconds in waits:
            await timer.during(asyncio.sleep(seconds))


async def test_one_long_wait_fails() -> None:
    with pytest.raises(ClientStalled):
        await wait_for([60])


async def test_many_short_waits_do_not() -> None:
    await wait_for([SECONDS / 8] * 40)


async def test_time_outside_of_waits_does_not_count() -> None:
    async with StallTimer(SECONDS) as timer:
        await timer.during(asyncio.sleep(0))
        await asyncio.sleep(4 * SECONDS)
        await timer.during(asyncio.sleep(0))


async def test_progress_within_a_long_wait_counts() -> None:
    left = itertools.count(1000, -1)
    await wait_for([4 * SECONDS], lambda: next(left))


async def test_progress_that_ends_counts_no_more() -> None:
    left = itertools.chain([3, 2, 1], itertools.repeat(1))
    with pytest.raises(ClientStalled):
        await wait_for([60], lambda: next(left))


async def test_no_timeout() -> None:
    async with StallTimer(None) as timer:
        await timer.during(asyncio.sleep(SECONDS))


async def test_errors_of_the_block_pass() -> None:
    with pytest.raises(TimeoutError, match="of the block"):
        async with StallTimer(SECONDS):
            raise TimeoutError("of the block")


async def test_cancellation_passes() -> None:
    task = asyncio.ensure_future(wait_for([60]))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_nothing_runs_on() -> None:
    loop = asyncio.get_running_loop()
    await wait_for([0])
    timers = loop._scheduled  # type: ignore[attr-defined]
    assert [timer for timer in timers if not timer.cancelled()] == []
