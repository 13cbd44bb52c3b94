"""The launcher: starts workers, replaces the dead, restarts them in turn, and stops them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quart_app.server.inheritance import CannotStart, Inheritance
from quart_app.server.sockets import listen

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Coroutine, Mapping, Sequence

    from quart_app.settings import Settings

__all__ = ["Launcher"]

LOG = logging.getLogger("quart_app.launcher")

#: What a worker may take beyond the drain before it is killed.
STOP_MARGIN_SECONDS = 10.0

#: A worker that dies sooner than this after its start is replaced after a pause.
YOUNG_SECONDS = 5.0

#: Longest pause between attempts to replace a worker.
MOST_PAUSE_SECONDS = 30.0


@dataclass(eq=False, slots=True)
class Worker:
    """A running worker.

    Attributes:
        process: Its process.
        slot: Number of its sockets.
        started: When it was started, on the monotonic clock.
        retired: Whether its end is wanted.
    """

    process: Process
    slot: int
    started: float
    retired: bool = False

    def retire(self) -> None:
        """Have it drain and end."""
        self.retired = True
        if self.process.returncode is None:
            self.process.terminate()


class Launcher:
    """Runs `settings.workers` processes of a command until SIGTERM or SIGINT.

    SIGHUP replaces them one by one: a new worker accepts on the same socket before the old one
    begins to drain. Stock Hypercorn ends all workers as soon as one has ended, and all streams
    with them.

    Args:
        settings: How many workers, where to listen, how long to drain.
        command: What a worker runs; finds its `Inheritance` in the environment.
        environment: Variables for the workers.
    """

    def __init__(
        self, settings: Settings, command: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self._settings = settings
        self._command = command
        self._environment = environment
        self._workers: set[Worker] = set()
        self._watches: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._restarting = asyncio.Lock()
        self._lifeline, self._lifeline_end = os.pipe()

    async def run(self) -> int:
        """Launch, and return when all workers have ended.

        Returns:
            Exit code: 0, or 1 when a worker had to be killed or failed at its end.

        Raises:
            CannotStart: An address cannot be had, or a worker did not start.
        """
        self._listeners = listen(self._settings)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._begin_stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._watch(self._restart()))
        try:
            slots = range(self._settings.workers)
            await asyncio.gather(*(self._start(slot) for slot in slots))
            print(f"serving on {self._listeners.address}", flush=True)  # noqa: T201
            _notify("READY=1")
            await self._stop.wait()
        finally:
            _notify("STOPPING=1")
            self._listeners.close()
            clean = await self._end_all()
        return 0 if clean else 1

    def _begin_stop(self) -> None:
        if self._stop.is_set():  # asked twice: now
            for worker in self._workers:
                worker.process.kill()
        self._stop.set()

    async def _start(self, slot: int) -> Worker:
        """Start a worker and wait until it accepts connections."""
        listeners = tuple(listener.fileno() for listener in self._listeners.by_worker[slot])
        ready, ready_end = os.pipe()
        inheritance = Inheritance(listeners, ready_end, self._lifeline)
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                env={**self._environment, Inheritance.VARIABLE: inheritance.dump()},
                pass_fds=(*listeners, ready_end, self._lifeline),
            )
        except OSError:
            os.close(ready)
            raise
        finally:
            os.close(ready_end)
        worker = Worker(process, slot, time.monotonic())
        self._workers.add(worker)
        told = await asyncio.to_thread(os.read, ready, 1)
        os.close(ready)
        if not told:
            self._workers.discard(worker)
            await process.wait()
            raise CannotStart  # it has said why
        self._watch(self._replace_when_dead(worker))
        return worker

    def _watch(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._watches.add(task)
        task.add_done_callback(self._watches.discard)

    async def _replace_when_dead(self, worker: Worker) -> None:
        code = await worker.process.wait()
        self._workers.discard(worker)
        if worker.retired or self._stop.is_set():
            return
        LOG.error("worker died", extra={"pid": worker.process.pid, "code": code})
        pause = 0.0 if time.monotonic() - worker.started > YOUNG_SECONDS else 1.0
        while True:
            await asyncio.sleep(pause)
            if self._stop.is_set():
                return
            try:
                await self._start(worker.slot)
            except (CannotStart, OSError):
                LOG.exception("worker not replaced yet")
                pause = min(2 * pause or 1.0, MOST_PAUSE_SECONDS)
            else:
                return

    async def _restart(self) -> None:
        async with self._restarting:
            for worker in sorted(self._workers, key=lambda worker: worker.slot):
                try:
                    await self._start(worker.slot)
                except CannotStart:
                    LOG.exception("restart given up; the old workers go on")
                    break
                worker.retire()

    async def _end_all(self) -> bool:
        """End the workers; tells whether all ended well."""
        workers = list(self._workers)
        for worker in workers:
            worker.retire()
        ends = [asyncio.ensure_future(worker.process.wait()) for worker in workers]
        if ends:
            await asyncio.wait(ends, timeout=self._settings.drain + STOP_MARGIN_SECONDS)
        for worker in workers:
            if worker.process.returncode is None:
                LOG.error("worker killed", extra={"pid": worker.process.pid})
                worker.process.kill()
        return not any([await worker.process.wait() for worker in workers])


def _notify(state: str) -> None:
    """Tell systemd (sd_notify(3)), where it wants to be told."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notice:
        notice.sendto(state.encode(), path.replace("@", "\0", 1))
