"""The watchdog of other tests: it sees what blocks a loop, and nothing else."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
import uvloop

from tests.e2e.watching import MOST_SECONDS, Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable

LONG_SECONDS = 6 * MOST_SECONDS


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def blocked(request: pytest.FixtureRequest) -> Callable[[Callable[[], None], int], list[str]]:
    """What the watchdog says of so many callbacks, one after another."""

    async def watched(callback: Callable[[], None], count: int) -> list[str]:
        loop = asyncio.get_running_loop()
        watchdog = Watchdog(loop)
        watchdog.start()
        await asyncio.sleep(0)
        for _ in range(count):
            loop.call_soon(callback)
            await asyncio.sleep(0)
        return watchdog.blocked

    def run(callback: Callable[[], None], count: int) -> list[str]:
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(watched(callback, count))

    return run


def test_a_call_that_waits(blocked: Callable[..., list[str]]) -> None:
    (stack,) = blocked(lambda: time.sleep(LONG_SECONDS), 1)
    assert "time.sleep" in stack


def test_a_computation(blocked: Callable[..., list[str]]) -> None:
    def compute() -> None:
        end = time.thread_time() + LONG_SECONDS
        while time.thread_time() < end:
            pass

    (stack,) = blocked(compute, 1)
    assert "thread_time" in stack


def test_many_short_callbacks(blocked: Callable[..., list[str]]) -> None:
    assert blocked(lambda: time.sleep(0.01), round(LONG_SECONDS / 0.01)) == []
