"""Jobs that surely run or never do, whatever becomes of the threads."""

from __future__ import annotations

import asyncio
import logging
import random
import subprocess
import sys
import threading
import weakref
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from quart_app.errors import CannotStart, Overloaded
from quart_app.streaming import Threads, executor, in_thread, looked_up, start_threads, threads
from quart_app.upstream import resolve
from tests.server_process import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Starts:
    """Starts of threads, of which some fail as at a limit of processes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fails: Callable[[], bool] = lambda: True
        self.failed = 0
        start = threading.Thread.start

        def start_or_fail(thread: threading.Thread) -> None:
            if thread.name.startswith("test") and self.fails():
                self.failed += 1
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", start_or_fail)


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Starts:
    monkeypatch.setattr(executor.WARN, "_next", 0.0)
    return Starts(monkeypatch)


@pytest.fixture
def pool() -> Iterator[Threads]:
    pool = Threads(3, "test")
    yield pool
    pool.shutdown()


def running() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("test")]


class TestThreads:
    def test_refused_job_never_runs(self, pool: Threads, starts: Starts) -> None:
        ran: list[int] = []
        with pytest.raises(Overloaded):
            pool.submit(ran.append, 1)
        starts.fails = lambda: False
        pool.submit(ran.append, 2).result(10)
        assert ran == [2]

    def test_the_pool_of_the_standard_library_runs_what_it_refused(self, starts: Starts) -> None:
        """Why there is another one; should this ever fail, there may be no need."""
        ran: list[int] = []
        with ThreadPoolExecutor(1, thread_name_prefix="test") as stock:
            with pytest.raises(RuntimeError, match="can't start new thread"):
                stock.submit(ran.append, 1)
            starts.fails = lambda: False
            stock.submit(ran.append, 2).result(10)
        assert ran == [1, 2]

    def test_one_thread_is_enough(
        self, pool: Threads, starts: Starts, caplog: pytest.LogCaptureFixture
    ) -> None:
        starts.fails = lambda: False
        pool.start(1)
        starts.fails = lambda: True
        gate, ran = threading.Event(), list[int]()
        pool.submit(gate.wait, 10)
        jobs = [pool.submit(ran.append, number) for number in range(100)]
        gate.set()
        assert wait(jobs, 10).not_done == set()
        assert ran == list(range(100))
        assert starts.failed == 100
        [line] = [r for r in caplog.records if r.levelno == logging.WARNING]
        assert line.message == "a thread cannot be started"

    def test_threads_start_as_they_are_needed(self, pool: Threads) -> None:
        assert running() == []
        for number in range(20):
            assert pool.submit(int, number).result(10) == number
        assert len(running()) == 1
        gate = threading.Event()
        jobs = [pool.submit(gate.wait, 10) for _ in range(5)]
        assert len(running()) == 3
        gate.set()
        assert all(job.result(10) for job in jobs)

    def test_shutdown_runs_what_was_accepted(self, pool: Threads) -> None:
        ran: list[int] = []
        for number in range(50):
            pool.submit(ran.append, number)
        pool.shutdown()
        assert (ran, running()) == (list(range(50)), [])
        with pytest.raises(RuntimeError, match="shut down"):
            pool.submit(int)

    def test_shutdown_that_cancels(self, pool: Threads) -> None:
        pool.start(1)
        begun, gate = threading.Event(), threading.Event()
        pool.submit(begun.set)
        pool.submit(gate.wait, 10)
        begun.wait(10)
        others = [pool.submit(gate.wait, 10) for _ in range(9)]
        begun_too = [job for job in others if not job.cancel()]
        pool.shutdown(wait=False, cancel_futures=True)
        gate.set()
        pool.shutdown()
        assert len(begun_too) <= 2
        assert running() == []

    def test_error_of_a_job(self, pool: Threads) -> None:
        with pytest.raises(ValueError, match="invalid"):
            pool.submit(int, "x").result(10)
        with pytest.raises(SystemExit):
            pool.submit(sys.exit).result(10)
        assert pool.submit(int, "7").result(10) == 7

    def test_nothing_is_kept_of_a_job(self, pool: Threads) -> None:
        class Piece:
            pass

        def failing(_: Piece) -> None:
            raise LookupError

        for func in (id, failing):
            piece = Piece()
            gone = weakref.ref(piece)
            with suppress(LookupError):
                pool.submit(func, piece).result(10)
            del piece
            pool.submit(int).result(10)
            assert gone() is None

    def test_cancelled_before_it_begins(self, pool: Threads) -> None:
        gate, ran = threading.Event(), list[int]()
        held = [pool.submit(gate.wait, 10) for _ in range(3)]
        job = pool.submit(ran.append, 1)
        assert job.cancel()
        gate.set()
        wait(held, 10)
        assert pool.submit(len, ran).result(10) == 0
        with pytest.raises(CancelledError):
            job.result()

    @pytest.mark.parametrize("seed", range(5))
    def test_each_job_runs_once_or_never(self, starts: Starts, seed: int) -> None:
        chance = random.Random(seed)
        starts.fails = lambda: chance.random() < 0.9
        refused, accepted, ran = list[int](), list[Future[None]](), list[int]()
        pool = Threads(8, "test")

        def submit(numbers: range) -> None:
            for number in numbers:
                try:
                    accepted.append(pool.submit(ran.append, number))
                except Overloaded:
                    refused.append(number)

        with ThreadPoolExecutor(4) as clients:
            list(clients.map(submit, (range(at, at + 500) for at in range(0, 2000, 500))))
        pool.shutdown()
        assert len(accepted) + len(refused) == 2000
        assert all(job.done() for job in accepted)
        assert sorted(ran + refused) == list(range(2000))

    @pytest.mark.asyncio(loop_scope="function")
    async def test_on_a_loop(self, starts: Starts, monkeypatch: pytest.MonkeyPatch) -> None:
        pool = Threads(1, "test")
        monkeypatch.setattr(threads, "EXECUTOR", pool)
        monkeypatch.setattr(threads, "LOOK_UP_EXECUTOR", pool)
        for refused in (in_thread(int, "7"), looked_up(int, "7"), resolve("localhost")):
            with pytest.raises(Overloaded):
                await refused
        starts.fails = lambda: False
        assert await in_thread(int, "7") == await looked_up(int, "7") == 7
        assert await resolve("localhost")
        pool.shutdown()


class TestStart:
    def test_nothing_starts_at_import(self) -> None:
        code = "import threading, quart_app.asgi; print(threading.active_count())"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True)
        assert done.stdout == b"1\n", done.stderr.decode()

    def test_jobs_run_before_the_interpreter_ends(self) -> None:
        code = (
            "import time; from quart_app.streaming import Threads; pool = Threads(1, 'a');"
            "[pool.submit(time.sleep, 0.01) for _ in range(9)];"
            "pool.submit(print, 'last')"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True)
        assert done.stdout == b"last\n", done.stderr.decode()

    def test_not_a_thread_to_be_had(self, starts: Starts, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(threads, "WRITING_EXECUTOR", Threads(2, "test"))
        with pytest.raises(CannotStart, match="cannot start threads: can't start new thread"):
            start_threads()
        assert starts.failed == 1


@pytest.mark.asyncio(loop_scope="function")
async def test_look_up_that_nobody_waits_for() -> None:
    """A name server that is silent holds up no request longer than its own timeout."""
    gate = threading.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await looked_up(gate.wait, 30)
    gate.set()
