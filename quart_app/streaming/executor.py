"""An executor that runs each job it has accepted, and never a job it has refused."""

from __future__ import annotations

import atexit
import logging
import threading
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from quart_app.errors import Overloaded
from quart_app.logs import RareWarning

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Threads"]

T = TypeVar("T")

WARN = RareWarning(logging.getLogger("quart_app.threads"), "a thread cannot be started")


@dataclass(slots=True)
class _Job:
    future: Future[Any]
    call: Callable[[], Any]


class Threads(Executor):
    """Threads that run jobs in the order of their submission.

    `ThreadPoolExecutor.submit` queues a job first, starts a thread after that, and raises where
    the thread cannot be started. Its caller takes the job for refused and closes the descriptors
    of the job; the job runs later, on numbers that by then belong to other files and sockets. Here
    the thread is started first. Once one thread runs, every job is accepted until `shutdown`: a
    thread ends no sooner.

    Threads start as jobs need them. Whoever makes an executor shuts it down, or leaves that to the
    end of the interpreter.

    Args:
        most: Most threads.
        name: Beginning of their names.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._unfinished = 0
        self._over = False

    def start(self, count: int) -> None:
        """Have at least `count` threads run.

        Raises:
            Overloaded: No thread at all can be started.
        """
        with self._lock:
            for _ in range(count - len(self._threads)):
                self._grow()

    def submit(self, func: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Accept a job, which then runs unless its future is cancelled before.

        Raises:
            Overloaded: No thread runs, and none can be started. The job never runs.
            RuntimeError: The executor is shut down. The job never runs.
        """
        job = _Job(Future(), partial(func, *args, **kwargs))
        with self._lock:
            if self._over:
                raise RuntimeError("The executor is shut down.")
            if self._unfinished >= len(self._threads):
                self._grow()
            self._unfinished += 1
            self._jobs.put(job)
        return job.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more jobs, and end the threads once all accepted jobs have run.

        Args:
            wait: Return once the threads have ended.
            cancel_futures: Cancel the jobs that have not begun.
        """
        with self._lock:
            self._over = True
            while cancel_futures and not self._jobs.empty():
                if (job := self._jobs.get()) is not None:
                    job.future.cancel()
            for _ in self._threads:
                self._jobs.put(None)
        _RUNNING.discard(self)
        for thread in self._threads if wait else ():
            thread.join()

    def _grow(self) -> None:
        """Start one more thread, unless there are enough, or some and no more to be had."""
        if len(self._threads) >= self._most:
            return
        thread = threading.Thread(
            target=self._serve, name=f"{self._name}-{len(self._threads)}", daemon=True
        )
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            WARN(running=len(self._threads), wanted=self._name, cause=repr(error))
            if not self._threads:
                raise Overloaded from error
        else:
            self._threads.append(thread)
            _RUNNING.add(self)

    def _serve(self) -> None:
        while self._ran(self._jobs.get()):
            pass

    def _ran(self, job: _Job | None) -> bool:
        """Run a job; nothing refers to the job and its arguments after that."""
        if job is None:
            return False
        future, result, error = job.future, None, None
        begun = future.set_running_or_notify_cancel()
        try:
            result = job.call() if begun else None
        except BaseException as raised:  # whoever waits for the job is told
            error = raised
        with self._lock:
            self._unfinished -= 1
        if error is not None:
            future.set_exception(error)
        elif begun:
            future.set_result(result)
        del job, future, error  # the traceback of the error refers to this frame
        return True


_RUNNING: set[Threads] = set()


@atexit.register
def _finish() -> None:
    """Run what was accepted before the interpreter ends."""
    for threads in list(_RUNNING):
        threads.shutdown()
