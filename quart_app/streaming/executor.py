"""An executor that runs every job that it accepts, and never runs a job that it rejects."""

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
    """An executor whose threads run jobs in the order of submission.

    `ThreadPoolExecutor.submit` queues a job before it starts a thread, and raises if the thread
    cannot be started. The caller then assumes that the job was rejected and closes the descriptors
    of the job. The job runs later all the same, on descriptor numbers that belong to other files
    and sockets by then. This class starts the thread first. While at least one thread runs, every
    job is accepted. Threads run until `shutdown`.

    Threads start on demand. The owner shuts the executor down; otherwise the executor is shut down
    when the interpreter exits.

    Args:
        most: Maximum number of threads.
        name: Prefix of the thread names.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._unfinished = 0
        self._shut_down = False

    def start(self, count: int) -> None:
        """Start threads until at least `count` threads run.

        Raises:
            Overloaded: No thread runs, and none can be started.
        """
        with self._lock:
            for _ in range(count - len(self._threads)):
                self._start_thread()

    def submit(self, func: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Accept a job. The job runs unless its future is cancelled before the job starts.

        Raises:
            Overloaded: No thread runs, and none can be started. The job never runs.
            RuntimeError: The executor has been shut down. The job never runs.
        """
        job = _Job(Future(), partial(func, *args, **kwargs))
        with self._lock:
            if self._shut_down:
                raise RuntimeError("The executor is shut down.")
            if self._unfinished >= len(self._threads):
                self._start_thread()
            self._unfinished += 1
            self._jobs.put(job)
        return job.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more jobs, and end the threads when all accepted jobs have run.

        Args:
            wait: Whether to wait until the threads have ended.
            cancel_futures: Whether to cancel the jobs that have not started.
        """
        with self._lock:
            self._shut_down = True
            while cancel_futures and not self._jobs.empty():
                if (job := self._jobs.get()) is not None:
                    job.future.cancel()
            for _ in self._threads:
                self._jobs.put(None)
        _ACTIVE.discard(self)
        for thread in self._threads if wait else ():
            thread.join()

    def _start_thread(self) -> None:
        """Start one more thread, unless the maximum runs. Raise only if no thread runs."""
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
            _ACTIVE.add(self)

    def _serve(self) -> None:
        while self._run(self._jobs.get()):
            pass

    def _run(self, job: _Job | None) -> bool:
        """Run a job and drop all references to the job. Return False if there is no job."""
        if job is None:
            return False
        future, result, error = job.future, None, None
        begun = future.set_running_or_notify_cancel()
        try:
            result = job.call() if begun else None
        except BaseException as raised:  # passed to the future
            error = raised
        with self._lock:
            self._unfinished -= 1
        if error is not None:
            future.set_exception(error)
        elif begun:
            future.set_result(result)
        del job, future, error  # the traceback of `error` refers to this frame
        return True


_ACTIVE: set[Threads] = set()


@atexit.register
def _shut_down_all() -> None:
    """Run all accepted jobs before the interpreter exits."""
    for threads in list(_ACTIVE):
        threads.shutdown()
