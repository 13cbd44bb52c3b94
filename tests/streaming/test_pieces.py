"""Chunks gathered as they arrive."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from quart_app.errors import TooLarge
from quart_app.streaming import bursts, held_back, limited

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.asyncio(loop_scope="function")

LONG_SECONDS = 3600.0


async def from_queue(queue: asyncio.Queue[bytes | None]) -> AsyncGenerator[bytes]:
    while (chunk := await queue.get()) is not None:
        yield chunk


def queue_of(*chunks: bytes | None) -> asyncio.Queue[bytes | None]:
    queue: asyncio.Queue[bytes | None] = asyncio.Queue()
    for chunk in chunks:
        queue.put_nowait(chunk)
    return queue


async def test_what_is_there_comes_together() -> None:
    source = from_queue(queue_of(b"a", b"b", b"c", None))
    pieces = bursts(source, size=10_000, quiet_time=LONG_SECONDS)
    assert [piece async for piece in pieces] == [[b"a", b"b", b"c"]]


async def test_nothing_at_all() -> None:
    pieces = bursts(from_queue(queue_of(None)), size=10_000, quiet_time=LONG_SECONDS)
    assert [piece async for piece in pieces] == []


async def test_it_does_not_wait_for_more() -> None:
    queue = queue_of(b"a")
    async with aclosing(bursts(from_queue(queue), size=10_000, quiet_time=LONG_SECONDS)) as pieces:
        assert await anext(pieces) == [b"a"]
        for chunk in (b"b", b"c", None):
            queue.put_nowait(chunk)
        assert [piece async for piece in pieces] == [[b"b", b"c"]]


async def test_pieces_are_bounded() -> None:
    chunks = [bytes([number]) * 100 for number in range(50)]
    pieces = bursts(from_queue(queue_of(*chunks, None)), size=500, quiet_time=LONG_SECONDS)
    got = [list(piece) async for piece in pieces]
    assert [chunk for piece in got for chunk in piece] == chunks
    assert max(map(len, got)) <= 5


async def test_a_pause_is_told_once() -> None:
    queue = queue_of(b"a")
    async with aclosing(bursts(from_queue(queue), size=10_000, quiet_time=0.01)) as pieces:
        assert await anext(pieces) == [b"a"]
        assert await anext(pieces) == []
        following = asyncio.ensure_future(anext(pieces))
        assert await asyncio.wait([following], timeout=0.1) == (set(), {following})
        queue.put_nowait(b"b")
        assert await following == [b"b"]
        assert await anext(pieces) == []


async def test_what_came_before_an_error_comes_first() -> None:
    async def failing() -> AsyncGenerator[bytes]:
        yield b"a"
        raise LookupError

    pieces = bursts(failing(), size=10_000, quiet_time=LONG_SECONDS)
    assert await anext(pieces) == [b"a"]
    with pytest.raises(LookupError):
        await anext(pieces)


@pytest.mark.parametrize("how", ["closed", "cancelled"])
async def test_nothing_runs_on(how: str) -> None:
    before = asyncio.all_tasks()
    pieces = bursts(from_queue(queue_of(b"a")), size=10_000, quiet_time=LONG_SECONDS)
    assert await anext(pieces) == [b"a"]
    if how == "cancelled":
        waiting = asyncio.ensure_future(anext(pieces))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await pieces.aclose()
    assert asyncio.all_tasks() == before


class TestHeldBack:
    async def held(self, *outputs: bytes, size: int = 10, seconds: float = 3600) -> list[bytes]:
        source = from_queue(queue_of(*outputs, None))
        return [output async for output in held_back(source, size=size, hold_time=seconds)]

    async def test_short_streams_come_at_once(self) -> None:
        assert await self.held(b"a", b"b") == [b"ab"]
        assert await self.held() == []
        assert await self.held(b"", b"") == []

    async def test_until_large(self) -> None:
        assert await self.held(b"12345", b"67890", b"a", b"b") == [b"1234567890", b"a", b"b"]

    async def test_until_quiet(self) -> None:
        assert await self.held(b"", b"a", b"b", b"", b"c", b"", b"d") == [b"ab", b"c", b"d"]

    async def test_until_old(self) -> None:
        assert await self.held(b"a", b"b", b"c", seconds=0) == [b"a", b"b", b"c"]

    async def test_early_error_comes_in_place_of_output(self) -> None:
        async def failing() -> AsyncGenerator[bytes]:
            yield b"a"
            raise LookupError

        with pytest.raises(LookupError):
            await anext(held_back(failing(), size=10, hold_time=3600))

    async def test_source_is_closed(self) -> None:
        source = from_queue(queue_of(b"a", b"b"))
        outputs = held_back(source, size=1, hold_time=LONG_SECONDS)
        assert await anext(outputs) == b"a"
        await outputs.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(source)


async def test_limited() -> None:
    assert [chunk async for chunk in limited(from_queue(queue_of(b"ab", b"c", None)), 3)] == [
        b"ab",
        b"c",
    ]
    passed = []
    with pytest.raises(TooLarge, match="limit is 3 bytes"):
        async for chunk in limited(from_queue(queue_of(b"ab", b"c", b"d", b"e", None)), 3):
            passed.append(chunk)
    assert passed == [b"ab", b"c"]
