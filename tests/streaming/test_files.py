"""Bytes between descriptors and streams, and threads that are never left alone."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quart_app.models import ByteRange
from quart_app.streaming import (
    READ_SIZE,
    WRITE_SIZE,
    Digests,
    FileCut,
    chained,
    finished,
    gathered,
    in_thread,
    read_range,
    settled,
    start_in_thread,
    uninterrupted,
    verified,
    write_pieces,
)
from quart_app.streaming.files import MOST_BUFFERS
from tests.e2e.clients import content, sha256

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator


SIZES = [0, 1, 131_071, 131_072, 131_073, READ_SIZE, 3 * READ_SIZE + 5, 13 * READ_SIZE + 5]


async def stream(*chunks: bytes) -> AsyncGenerator[bytes]:
    for chunk in chunks:
        await asyncio.sleep(0)
        yield chunk


@contextmanager
def opened(path: Path, flags: int = os.O_RDWR | os.O_CREAT) -> Iterator[int]:
    descriptor = os.open(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class Gate:
    """A blocking call that stays in its thread until it is let go."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.entered, self.open = threading.Event(), threading.Event()
        self.running = 0

    def __call__(self, *args: Any) -> Any:
        self.running += 1
        self.entered.set()
        self.open.wait(30)
        try:
            return self.function(*args)
        finally:
            self.running -= 1


async def cancelled_inside(task: asyncio.Task[Any], gate: Gate) -> None:
    """Cancels a task whose thread is inside the gate; asserts that it waits for the thread."""
    await asyncio.to_thread(gate.entered.wait, 30)
    task.cancel()
    for _ in range(20):
        await asyncio.sleep(0.001)
    task.cancel()  # impatience does not help
    assert not task.done()
    gate.open.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gate.running == 0


class TestWriting:
    @pytest.mark.asyncio(loop_scope="function")
    @pytest.mark.parametrize("size", SIZES)
    async def test_whole(self, tmp_path: Path, size: int) -> None:
        data = content(size)
        with opened(tmp_path / "a") as descriptor:
            await write_pieces(descriptor, gathered(stream(data[:7], data[7:])))
        assert (tmp_path / "a").read_bytes() == data

    @pytest.mark.asyncio(loop_scope="function")
    async def test_more_chunks_than_one_call_takes(self, tmp_path: Path) -> None:
        data = content(3 * MOST_BUFFERS)
        with opened(tmp_path / "a") as descriptor:
            single = [data[at : at + 1] for at in range(len(data))]
            await write_pieces(descriptor, gathered(stream(*single)))
        assert (tmp_path / "a").read_bytes() == data

    @pytest.mark.asyncio(loop_scope="function")
    async def test_short_writes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write = os.write
        monkeypatch.setattr(os, "writev", lambda fd, buffers: write(fd, b"".join(buffers)[:5]))
        monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data)[:7]))
        with opened(tmp_path / "a") as descriptor:
            await write_pieces(descriptor, gathered(stream(b"0123456789" * 10, b"end")))
        assert (tmp_path / "a").read_bytes() == b"0123456789" * 10 + b"end"

    @pytest.mark.asyncio(loop_scope="function")
    async def test_error_of_the_disk(self) -> None:
        data = gathered(stream(content(2 * WRITE_SIZE)))
        full = opened(Path("/dev/full"), os.O_WRONLY)
        with full as descriptor, pytest.raises(OSError, match="No space"):
            await write_pieces(descriptor, data)

    @pytest.mark.asyncio(loop_scope="function")
    async def test_error_of_the_source(self, tmp_path: Path) -> None:
        async def failing() -> AsyncGenerator[list[bytes]]:
            yield [b"a"]
            raise LookupError

        with opened(tmp_path / "a") as descriptor, pytest.raises(LookupError):
            await write_pieces(descriptor, failing())
        assert (tmp_path / "a").read_bytes() == b"a"

    @pytest.mark.asyncio(loop_scope="function")
    async def test_cancelled_in_the_middle_of_a_write(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The descriptor may be closed, and its number given to another file, right after."""
        gate = Gate(os.writev)
        monkeypatch.setattr(os, "writev", gate)
        with opened(tmp_path / "a") as descriptor:
            pieces = gathered(stream(b"a" * WRITE_SIZE, b"b" * WRITE_SIZE, b"c"))
            task = asyncio.ensure_future(write_pieces(descriptor, pieces))
            await cancelled_inside(task, gate)

    @pytest.mark.asyncio(loop_scope="function")
    async def test_cancelled_while_waiting_for_the_source(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gate = Gate(os.writev)
        monkeypatch.setattr(os, "writev", gate)

        async def stuck() -> AsyncGenerator[list[bytes]]:
            yield [b"a"]
            await asyncio.sleep(60)

        with opened(tmp_path / "a") as descriptor:
            task = asyncio.ensure_future(write_pieces(descriptor, stuck()))
            await cancelled_inside(task, gate)


class TestReading:
    @pytest.mark.asyncio(loop_scope="function")
    @pytest.mark.parametrize("size", SIZES)
    async def test_ranges(self, tmp_path: Path, size: int) -> None:
        data = content(size)
        (tmp_path / "a").write_bytes(data)
        with opened(tmp_path / "a", os.O_RDONLY) as descriptor:
            for start, stop in [(0, size), (size // 3, size), (0, size // 2), (size, size)]:
                got = [chunk async for chunk in read_range(descriptor, ByteRange(start, stop))]
                assert b"".join(got) == data[start:stop]
                assert all(0 < len(chunk) <= READ_SIZE for chunk in got)

    @pytest.mark.asyncio(loop_scope="function")
    async def test_left_early(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(bytes(3 * READ_SIZE))
        with opened(tmp_path / "a", os.O_RDONLY) as descriptor:
            async with aclosing(read_range(descriptor, ByteRange(0, 3 * READ_SIZE))) as chunks:
                await anext(chunks)

    @pytest.mark.asyncio(loop_scope="function")
    async def test_never_begun(self, tmp_path: Path) -> None:
        with opened(tmp_path / "a") as descriptor:
            await read_range(descriptor, ByteRange(0, 10)).aclose()

    @pytest.mark.asyncio(loop_scope="function")
    @pytest.mark.parametrize("missing", [1, READ_SIZE, 3 * READ_SIZE])
    async def test_file_cut_meanwhile(self, tmp_path: Path, missing: int) -> None:
        (tmp_path / "a").write_bytes(bytes(3 * READ_SIZE - missing))
        with opened(tmp_path / "a", os.O_RDONLY) as descriptor, pytest.raises(FileCut):
            async for _ in read_range(descriptor, ByteRange(0, 3 * READ_SIZE)):
                pass

    @pytest.mark.asyncio(loop_scope="function")
    async def test_cancelled_in_the_middle_of_a_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "a").write_bytes(bytes(READ_SIZE))
        gate = Gate(os.pread)
        monkeypatch.setattr(os, "pread", gate)

        async def read_all(descriptor: int) -> None:
            async for _ in read_range(descriptor, ByteRange(0, READ_SIZE)):
                pass

        with opened(tmp_path / "a") as descriptor:
            await cancelled_inside(asyncio.ensure_future(read_all(descriptor)), gate)


class TestGathering:
    @given(st.lists(st.binary(max_size=50)), st.integers(1, 1000))
    def test_nothing_is_lost(self, chunks: list[bytes], size: int) -> None:
        async def pieces() -> list[Any]:
            return [piece async for piece in gathered(stream(*chunks), size)]

        got = asyncio.run(pieces())
        assert b"".join(b"".join(piece) for piece in got) == b"".join(chunks)
        assert all(all(piece) and piece for piece in got)

    @pytest.mark.asyncio(loop_scope="function")
    async def test_size_of_pieces(self) -> None:
        chunks = [bytes(65_536)] * 64
        sizes = [sum(map(len, piece)) async for piece in gathered(stream(*chunks))]
        assert all(0.9 * WRITE_SIZE < size <= WRITE_SIZE for size in sizes[:-1])

    @pytest.mark.asyncio(loop_scope="function")
    async def test_chained(self) -> None:
        head = [b"a", b"b"]
        assert [chunk async for chunk in chained(head, stream(b"c"))] == [b"a", b"b", b"c"]
        assert head == []


class TestDigests:
    @pytest.mark.asyncio(loop_scope="function")
    @pytest.mark.parametrize("size", SIZES)
    async def test_watched(self, size: int) -> None:
        data = content(size)
        watch = Digests("sha-256", "sha-512")
        passed = [b"".join(piece) async for piece in watch.watch(gathered(stream(data)))]
        assert b"".join(passed) == data
        assert (watch.size, watch.digest("sha-256").hex()) == (size, sha256(data))

    @pytest.mark.asyncio(loop_scope="function")
    async def test_verified(self) -> None:
        digest = bytes.fromhex(sha256(b"abc"))
        chunks = verified(stream(b"ab", b"c"), Digests(declared={"sha-256": digest}))
        assert [chunk async for chunk in chunks] == [b"ab", b"c"]

    @pytest.mark.asyncio(loop_scope="function")
    async def test_left_early_while_it_hashes(self) -> None:
        watch = Digests("sha-512")
        async with aclosing(watch.watch(gathered(stream(content(2 * WRITE_SIZE))))) as pieces:
            await anext(pieces)


class TestThreads:
    @pytest.mark.asyncio(loop_scope="function")
    async def test_result_and_error(self) -> None:
        assert await in_thread(int, "7") == 7
        with pytest.raises(ValueError, match="invalid"):
            await in_thread(int, "x")

    @pytest.mark.asyncio(loop_scope="function")
    async def test_cancelled(self) -> None:
        gate = Gate(lambda: None)
        await cancelled_inside(asyncio.ensure_future(in_thread(gate)), gate)

    @pytest.mark.asyncio(loop_scope="function")
    async def test_cancelled_while_finishing(self) -> None:
        gate = Gate(lambda: None)
        job = start_in_thread(gate)
        await cancelled_inside(asyncio.ensure_future(finished(job)), gate)

    @pytest.mark.asyncio(loop_scope="function")
    async def test_settled_swallows_errors(self) -> None:
        for job in (start_in_thread(int, "x"), None, start_in_thread(int, "7")):
            await settled(job)

    @pytest.mark.asyncio(loop_scope="function")
    async def test_uninterrupted(self) -> None:
        done: list[int] = []

        async def steps() -> None:
            for number in range(20):
                await asyncio.sleep(0.001)
                done.append(number)

        task = asyncio.ensure_future(uninterrupted(steps()))
        await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done == list(range(20))
