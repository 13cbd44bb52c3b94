"""The launcher: starts workers, replaces dead and frozen ones, restarts and stops them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from quart_app.errors import CannotStart
from quart_app.server.pulse import Pulse, beat_interval
from quart_app.server.sockets import Inheritance, listen

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

#: That pause.
FIRST_PAUSE_SECONDS = 1.0

#: Longest pause between attempts to replace a worker.
MOST_PAUSE_SECONDS = 30.0

#: How a worker ends that was asked to: by itself, or by the signal before it could handle that.
CLEAN_CODES = {0, -signal.SIGTERM}

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class Worker:
    """A running worker.

    Attributes:
        process: Its process.
        slot: Number of its sockets.
        started: When it was started, on the monotonic clock.
        pulse: The pipe that it writes beats to.
        retired: Whether its end is wanted.
    """

    process: Process
    slot: int
    started: float
    pulse: Pulse
    retired: bool = False

    def retire(self, patience: float) -> None:
        """Have it drain and end, by force when it takes more than `patience` seconds."""
        if not self.retired and self.process.returncode is None:
            self.process.terminate()
            asyncio.get_running_loop().call_later(patience, self.kill)
        self.retired = True

    def kill(self) -> None:
        """End it at once."""
        if self.process.returncode is None:
            LOG.error("worker killed", extra={"pid": self.process.pid})
            self.process.kill()


class Launcher:
    """Runs `settings.workers` processes of a command until SIGTERM or SIGINT.

    SIGHUP replaces them one by one: a new worker accepts on the same socket before the old one
    begins to drain. Stock Hypercorn ends all workers as soon as one has ended, and all streams
    with them.

    A worker whose loop does not turn for `settings.worker_timeout` seconds is killed and replaced,
    while it drains too: it would go on holding its connections and accepting new ones. Those that
    still wait at its socket wait for its replacement.

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
        self._patience = settings.drain + STOP_MARGIN_SECONDS
        self._workers: set[Worker] = set()
        self._slots = [asyncio.Lock() for _ in range(settings.workers)]
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stop = asyncio.Event()
        self._clean = True
        self._lifeline, self._lifeline_end = os.pipe()

    async def run(self) -> int:
        """Launch, and return when all workers have ended.

        Returns:
            Exit code: 0, or 1 when a worker had to be killed or failed at its end.

        Raises:
            CannotStart: An address cannot be had, or a worker did not start.
        """
        self._listeners = listen(self._settings)
        _watch_children_without_threads()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._begin_stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self._restart()))
        watching = asyncio.create_task(self._watch())
        try:
            slots = range(self._settings.workers)
            started = await asyncio.gather(*(self._spawn(self._start(slot)) for slot in slots))
            if not (all(started) or self._stop.is_set()):
                raise CannotStart  # a worker has said why
            if not self._stop.is_set():
                print(f"serving on {self._listeners.address}", flush=True)  # noqa: T201
                _notify("READY=1")
            await self._stop.wait()
        finally:
            _notify("STOPPING=1")
            self._listeners.close()
            await self._end_all()
            watching.cancel()
        return 0 if self._clean else 1

    def _begin_stop(self) -> None:
        if self._stop.is_set():  # asked twice: now
            for worker in self._workers:
                worker.kill()
        self._stop.set()
        for worker in self._workers:
            worker.retire(self._patience)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _watch(self) -> None:
        """Kill workers that have frozen; see `Pulse.check`."""
        timeout = self._settings.worker_timeout
        interval = beat_interval(timeout)
        while timeout:
            await asyncio.sleep(interval)
            for worker in self._workers:
                if worker.pulse.check() * interval > timeout:
                    LOG.error("worker frozen", extra={"pid": worker.process.pid})
                    worker.pulse.close()
                    worker.kill()

    async def _start(self, slot: int) -> bool:
        """Start a worker.

        Returns:
            Whether the worker has come to accept connections.
        """
        if self._stop.is_set():
            return False
        pulse = Pulse()
        try:
            process = await self._process(slot, pulse.worker_end)
        except (OSError, RuntimeError) as error:  # no process, descriptor or thread to be had
            pulse.close()
            LOG.warning("cannot start a worker", extra={"cause": repr(error)})
            return False
        finally:
            os.close(pulse.worker_end)
        worker = Worker(process, slot, time.monotonic(), pulse)
        self._workers.add(worker)
        if self._stop.is_set():
            worker.retire(self._patience)
        if await pulse.ready:
            self._spawn(self._replace_when_dead(worker))
            return True
        await process.wait()
        self._workers.discard(worker)
        return False

    async def _process(self, slot: int, pulse: int) -> Process:
        listeners = tuple(listener.fileno() for listener in self._listeners.by_worker[slot])
        inheritance = Inheritance(listeners, pulse, self._lifeline)
        return await asyncio.create_subprocess_exec(
            *self._command,
            env={**self._environment, Inheritance.VARIABLE: inheritance.dump()},
            pass_fds=(*listeners, pulse, self._lifeline),
        )

    async def _replace_when_dead(self, worker: Worker) -> None:
        code = await worker.process.wait()
        self._workers.discard(worker)
        if worker.retired:
            self._clean &= code in CLEAN_CODES
            return
        LOG.error("worker died", extra={"pid": worker.process.pid, "code": code})
        young = time.monotonic() - worker.started < YOUNG_SECONDS
        pause = FIRST_PAUSE_SECONDS if young else 0.0
        while not self._stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), pause)
            async with self._slots[worker.slot]:
                if self._serving(worker.slot) or await self._start(worker.slot):
                    return
            pause = min(2 * pause or FIRST_PAUSE_SECONDS, MOST_PAUSE_SECONDS)

    def _serving(self, slot: int) -> list[Worker]:
        return [worker for worker in self._workers if worker.slot == slot and not worker.retired]

    async def _restart(self) -> None:
        for slot, lock in enumerate(self._slots):
            async with lock:
                old = self._serving(slot)
                if not await self._start(slot):
                    if not self._stop.is_set():
                        LOG.error("restart given up; the old workers go on")
                    return
                for worker in old:
                    worker.retire(self._patience)

    async def _end_all(self) -> None:
        if not self._stop.is_set():
            self._begin_stop()
        while self._tasks:  # a worker that has just come to serve adds one
            await asyncio.gather(*self._tasks)


def _watch_children_without_threads() -> None:
    """Have Python 3.11 watch processes by descriptors, as later versions do by themselves.

    Else it starts a thread for each process, after the process, and loses sight of the process
    where no thread can be started.
    """
    if sys.version_info < (3, 12) and hasattr(os, "pidfd_open"):
        with suppress(OSError):
            os.close(os.pidfd_open(os.getpid()))  # older kernels refuse
            watcher = asyncio.PidfdChildWatcher()
            watcher.attach_loop(asyncio.get_running_loop())
            asyncio.set_child_watcher(watcher)


def _notify(state: str) -> None:
    """Tell systemd (sd_notify(3)), where it wants to be told."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    # As with systemd's own function, that nobody listens is no reason to end.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notice, suppress(OSError):
        notice.sendto(state.encode(), path.replace("@", "\0", 1))
