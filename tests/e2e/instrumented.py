"""The real command with eyes on its event loop, and with the faults a test asks for.

SIGUSR1 has it write what runs on the loop to the file that `TEST_STATE_FILE` names.
`TEST_FAULTS` names functions of `tests.e2e.faults`, separated by spaces.
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

from quart_app import cli, worker
from quart_app.app import create_app
from tests.e2e import faults

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from quart import Quart

    from quart_app.settings import Settings

__all__ = ["Watchdog", "watch", "watched_loop"]

#: The longest that one callback may hold the loop.
MOST_SECONDS = 0.25

LOOK_SECONDS = 0.025

#: Where the loop's thread is while it waits, under uvloop and under asyncio's own loop.
WAITING = ("asyncio/runners.py", "selectors.py")


class Watchdog(threading.Thread):
    """Records each time the event loop was blocked for too long, and where.

    On a busy machine the loop may just not be given the processor. So time counts only while this
    thread itself wakes up on time, and while the loop's thread is inside a callback.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(name="watchdog", daemon=True)
        self.blocked: list[str] = []
        self._loop = loop
        self._loop_thread = threading.get_ident()
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
        blocked, stack = 0.0, ""
        while blocked < MOST_SECONDS:
            asked = time.monotonic()
            if self._beat.wait(LOOK_SECONDS):
                return
            on_time = time.monotonic() - asked < 2 * LOOK_SECONDS
            if on_time and (stack := self._stack()):
                blocked += LOOK_SECONDS
        self.blocked.append(stack)
        self._beat.wait()

    def _stack(self) -> str:
        frames = traceback.extract_stack(sys._current_frames().get(self._loop_thread))
        if frames[-1].filename.endswith(WAITING):
            return ""
        return "".join(traceback.format_list(frames[-6:]))


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
    loop.add_signal_handler(signal.SIGUSR1, _report, watchdog)
    watchdog.start()
    yield
    loop.remove_signal_handler(signal.SIGUSR1)


def _report(watchdog: Watchdog) -> None:
    gc.collect()  # errors of tasks that nobody asked for are logged when those go
    tasks = [_description(task) for task in asyncio.all_tasks()]
    place = Path(os.environ["TEST_STATE_FILE"])
    unfinished = place.with_suffix(".new")
    unfinished.write_text(json.dumps({"tasks": sorted(tasks), "blocked": watchdog.blocked}))
    unfinished.rename(place)


def _description(task: asyncio.Task[Any]) -> str:
    return getattr(task.get_coro(), "__qualname__", repr(task.get_coro()))


def main() -> None:
    if sys.argv[1:] == ["worker"]:
        _work()
    else:
        cli.__dict__["WORKER_COMMAND"] = (sys.executable, "-m", "tests.e2e.instrumented", "worker")
        cli.main()


def _work() -> None:
    def create_watched(settings: Settings) -> Quart:
        app = create_app(settings)
        watch(app)
        return app

    worker.__dict__["create_app"] = create_watched
    for name in os.environ.get("TEST_FAULTS", "").split():
        getattr(faults, name)()
    worker.main()


if __name__ == "__main__":
    main()
