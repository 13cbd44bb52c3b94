"""Eyes on the event loop of a process.

SIGUSR1 has it write what runs on the loop to the file that `TEST_STATE_FILE` names.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
import threading
import time
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from types import FrameType

    from quart import Quart

__all__ = ["Watchdog", "watch", "watched_loop"]

#: The longest that one callback may hold the loop.
MOST_SECONDS = 0.25

LOOK_SECONDS = 0.025

#: Where the loop's thread is while it waits, under uvloop and under asyncio's own loop.
WAITING = ("asyncio/runners.py", "selectors.py")


class Watchdog(threading.Thread):
    """Records each time the event loop was blocked for too long, and where.

    On a busy machine the loop may just not be given the processor, and a crowd has many short
    callbacks for it. So time counts only while this thread itself wakes up on time, and while the
    loop's thread is inside one and the same callback, at work or waiting for anything but a
    processor.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(name="watchdog", daemon=True)
        self.blocked: list[str] = []
        self._loop = loop
        self._loop_thread = threading.get_ident()
        self._loop_clock = time.pthread_getcpuclockid(self._loop_thread)
        self._loop_stat = Path(f"/proc/self/task/{threading.get_native_id()}/stat")
        self._beat = threading.Event()

    def run(self) -> None:
        while not self._loop.is_closed():
            self._beat.clear()
            try:
                self._loop.call_soon_threadsafe(self._beat.set)
            except RuntimeError:  # it was closed just now
                return
            self._await_beat()
            time.sleep(LOOK_SECONDS)

    def _await_beat(self) -> None:
        blocked, last, stack = 0.0, None, ""
        while blocked < MOST_SECONDS:
            asked, worked = time.monotonic(), time.clock_gettime(self._loop_clock)
            if self._beat.wait(LOOK_SECONDS):
                return
            on_time = time.monotonic() - asked < 2 * LOOK_SECONDS
            frame = sys._current_frames().get(self._loop_thread)
            callback = _callback(frame)
            if callback is None or callback is not last:
                blocked, last = 0.0, callback
            elif on_time:
                working = time.clock_gettime(self._loop_clock) - worked
                blocked += working if self._wants_processor() else LOOK_SECONDS
                stack = "".join(traceback.format_list(traceback.extract_stack(frame)[-6:]))
        self.blocked.append(stack)
        del frame, callback, last
        self._beat.wait()

    def _wants_processor(self) -> bool:
        return self._loop_stat.read_text().rpartition(") ")[2].startswith("R")


def _callback(frame: FrameType | None) -> FrameType | None:
    """The frame in which the loop's thread began what it is at, or None while it waits."""
    if frame is None or frame.f_code.co_filename.endswith(WAITING):
        return None
    outermost, handle = frame, None
    while frame is not None and not _is_in(frame, "asyncio/runners.py"):
        outermost = frame
        if _is_in(frame, "asyncio/events.py"):  # of asyncio's own loop; uvloop has none
            handle = frame
        frame = frame.f_back
    return handle or outermost


def _is_in(frame: FrameType, file: str) -> bool:
    return frame.f_code.co_filename.endswith(file)


def watch(app: Quart) -> None:
    """Has an application answer SIGUSR1, and watches its loop, once it has started."""

    @app.while_serving
    async def watching() -> AsyncGenerator[None]:
        with watched_loop():
            yield


@contextmanager
def watched_loop() -> Iterator[None]:
    """Does so for the running loop."""
    loop = asyncio.get_running_loop()
    watchdog = Watchdog(loop)
    gc.collect()
    gc.freeze()  # else each report would look through all that was imported
    # Not `loop.add_signal_handler`: see `quart_app.server.worker`.
    signal.signal(signal.SIGUSR1, lambda *_: loop.call_soon_threadsafe(_report, watchdog))
    watchdog.start()
    yield
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def _report(watchdog: Watchdog) -> None:
    gc.collect()  # errors of tasks that nobody asked for are logged when those go
    tasks = [_description(task) for task in asyncio.all_tasks()]
    place = Path(os.environ["TEST_STATE_FILE"])
    unfinished = place.with_suffix(".new")
    unfinished.write_text(json.dumps({"tasks": sorted(tasks), "blocked": watchdog.blocked}))
    unfinished.rename(place)


def _description(task: asyncio.Task[Any]) -> str:
    return getattr(task.get_coro(), "__qualname__", repr(task.get_coro()))
