"""Parts of files sent by threads that fail, come late, or go on after their task has ended."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
from collections import deque
from concurrent.futures import Executor, Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from quart_app.errors import Overloaded
from quart_app.server.sendfile import Sending, send_file
from quart_app.streaming import SharedDescriptor, threads
from tests.e2e.clients import MIB, content

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BYTES = content(4 * MIB)


def descriptors() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


class Faulty(Executor):
    """An executor whose job number `at` meets a fault; the others run at once.

    Args:
        fault: `refuse`: the job never runs. `queue`: the job is refused, and runs all the same once
            `late()` is called, as with `ThreadPoolExecutor`. `hold`: the job runs at `late()`.
    """

    def __init__(self, fault: str, at: int) -> None:
        self._fault, self._left = fault, at
        self._jobs: deque[Callable[[], None]] = deque()
        self.held = asyncio.Event()

    def submit(self, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(func(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        self._left -= 1
        if self._left >= 0:
            run()
        elif self._fault == "refuse":
            raise Overloaded
        else:
            self._jobs.append(run)
            self.held.set()
            if self._fault == "queue":
                raise RuntimeError("can't start new thread")
        return future

    def late(self) -> None:
        while self._jobs:
            self._jobs.popleft()()


class Transfer:
    """A part of a file on its way through a pair of sockets, and a bystander's pair."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.ours, self.theirs = map(stack.enter_context, socket.socketpair())
        self.ours.setblocking(False)
        self.theirs.setblocking(False)
        self._path = path
        self.file = os.open(path, os.O_RDONLY)
        stack.callback(os.close, self.file)
        self._stack = stack
        self.sending = Sending(self.file, 0, len(BYTES))

    async def run(self) -> None:
        await send_file(self.ours.fileno(), self.sending)

    async def received(self) -> bytes:
        """All that has come so far."""
        got = bytearray()
        while True:
            try:
                got += self.theirs.recv(MIB)
            except BlockingIOError:
                return bytes(got)

    def bystanders(self) -> list[socket.socket]:
        """Sockets on the numbers that are free now; the first of them on that of a closed one."""
        pairs = [socket.socketpair() for _ in range(4)]
        for one in (end for pair in pairs for end in pair):
            one.setblocking(False)
            self._stack.enter_context(one)
        return [end for pair in pairs for end in pair]


def assert_nothing_came(bystanders: list[socket.socket]) -> None:
    for bystander in bystanders:
        with pytest.raises(BlockingIOError):
            bystander.recv(1)


@pytest.fixture
def transfer(tmp_path: Path) -> Iterator[Transfer]:
    path = tmp_path / "bytes"
    path.write_bytes(BYTES)
    before = descriptors()
    with ExitStack() as stack:
        yield Transfer(path, stack)
    assert descriptors() == before


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], Faulty]:
    def use(fault: str, at: int) -> Faulty:
        faulty = Faulty(fault, at)
        monkeypatch.setattr(threads, "EXECUTOR", faulty)
        return faulty

    return use


pytestmark = pytest.mark.asyncio(loop_scope="function")


@pytest.mark.parametrize("at", [0, 1, 3])
@pytest.mark.parametrize("fault", ["refuse", "queue"])
async def test_refused_job_sends_nothing_to_anybody(
    transfer: Transfer, executor: Callable[[str, int], Faulty], fault: str, at: int
) -> None:
    """Not even one that an executor refuses, and runs when its numbers belong to others."""
    faulty = executor(fault, at)
    task = asyncio.ensure_future(transfer.run())
    got = b""
    while not task.done():
        got += await transfer.received()
        await asyncio.sleep(0)
    with pytest.raises((Overloaded, RuntimeError)):
        await task
    got += await transfer.received()
    sent = transfer.sending.sent
    assert got == BYTES[:sent]
    bystanders = transfer.bystanders()
    faulty.late()
    assert transfer.sending.sent == sent
    assert_nothing_came(bystanders)
    assert await transfer.received() == b""


@pytest.mark.parametrize("at", [0, 1, 3])
async def test_cancelled_before_its_job_begins(
    transfer: Transfer, executor: Callable[[str, int], Faulty], at: int
) -> None:
    """It waits for the job, which still sends to its own client."""
    faulty = executor("hold", at)
    task = asyncio.ensure_future(transfer.run())
    got = b""
    while not faulty.held.is_set():
        got += await transfer.received()
        await asyncio.sleep(0)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    bystanders = transfer.bystanders()
    faulty.late()
    with pytest.raises(asyncio.CancelledError):
        await task
    got += await transfer.received()
    assert got == BYTES[: transfer.sending.sent]
    assert_nothing_came(bystanders)


async def test_cancelled_while_the_client_takes_nothing(transfer: Transfer) -> None:
    task = asyncio.ensure_future(transfer.run())
    while not transfer.sending.sent:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    bystanders = transfer.bystanders()
    assert await transfer.received() == BYTES[: transfer.sending.sent]
    assert_nothing_came(bystanders)


async def test_dropped_while_its_job_runs(
    transfer: Transfer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a loop is closed on it: the job has its descriptor to its end."""
    entered, gate, real = threading.Event(), threading.Event(), os.sendfile

    def gated(*args: Any) -> int:
        entered.set()
        gate.wait(30)
        return real(*args)

    monkeypatch.setattr(os, "sendfile", gated)
    coroutine = transfer.run()
    coroutine.send(None)  # to where it waits
    await asyncio.to_thread(entered.wait, 30)
    coroutine.close()
    bystanders = transfer.bystanders()
    before = descriptors()
    gate.set()
    async with asyncio.timeout(10):
        while descriptors() == before:
            await asyncio.sleep(0.001)
    assert_nothing_came(bystanders)
    assert await transfer.received() == BYTES[: transfer.sending.sent]


class TestSharedDescriptor:
    @contextmanager
    def pipe(self) -> Iterator[tuple[SharedDescriptor, int]]:
        end, number = os.pipe()
        yield SharedDescriptor(number), number
        os.close(end)

    async def test_open_while_it_is_used(self) -> None:
        with self.pipe() as (shared, number):
            with shared.used() as used, shared.used():
                shared.close()
                assert os.fstat(used)
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(number)

    async def test_closed_for_whoever_comes_later(self) -> None:
        with self.pipe() as (shared, number):
            shared.close()
            other = os.dup(0)
            assert other == number  # which is somebody else's
            with pytest.raises(OSError, match="Bad file descriptor") as caught, shared.used():
                pass
            assert caught.value.errno == errno.EBADF
            os.close(other)
