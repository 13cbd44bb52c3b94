"""Bodies kept for a moment: readable as often as wanted, and gone without a trace."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from quart_app.errors import NotText, TooLarge
from quart_app.streaming import (
    READ_SIZE,
    file_spool,
    mapped_spool,
    memory_spool,
    spilling_spool,
    text_spool,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager

    from quart_app.streaming import Spool

    Make = Callable[..., AbstractAsyncContextManager[Spool]]

pytestmark = pytest.mark.asyncio(loop_scope="function")

SPOOLS: dict[str, Any] = {
    "memory": lambda chunks, _: memory_spool(chunks, max_size=64 * READ_SIZE),
    "file": lambda chunks, place: file_spool(chunks, directory=place),
    "mapped": lambda chunks, place: mapped_spool(chunks, directory=place),
    "spilling": lambda chunks, place: spilling_spool(chunks, spill_size=1000, directory=place),
    "text": lambda chunks, place: text_spool(chunks, spill_size=1000, directory=place),
}


def content(size: int) -> bytes:
    """Text of no period, so that every spool takes it."""
    return random.Random(size).randbytes(size // 2 + 1).hex().encode()[:size]


SIZES = [0, 1, 999, 1000, 1001, READ_SIZE, 3 * READ_SIZE + 1]


async def stream(data: bytes, chunk_size: int = 700) -> AsyncGenerator[bytes]:
    for start in range(0, len(data), chunk_size):
        await asyncio.sleep(0)
        yield data[start : start + chunk_size]


async def failing(data: bytes) -> AsyncGenerator[bytes]:
    async for chunk in stream(data):
        yield chunk
    raise LookupError


async def stuck(data: bytes) -> AsyncGenerator[bytes]:
    async for chunk in stream(data):
        yield chunk
    await asyncio.sleep(60)


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path)


def traces(place: str) -> list[str]:
    """Named files, and open or mapped ones without a name."""
    links = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them
            links.append(str(descriptor.readlink()))
    maps = Path("/proc/self/maps").read_text().splitlines()
    return [text for text in [*named(place), *links, *maps] if place in text]


def named(place: str) -> list[str]:
    return [str(path) for path in Path(place).iterdir()]


@pytest.mark.parametrize("kind", SPOOLS)
class TestEvery:
    @pytest.mark.parametrize("size", SIZES)
    async def test_gives_back_what_it_got(self, kind: str, size: int, place: str) -> None:
        data = content(size)
        async with SPOOLS[kind](stream(data, 70_000), place) as spool:
            assert spool.size == size
            for _ in range(2):
                got = [chunk async for chunk in spool.chunks()]
                assert b"".join(got) == data
                assert all(0 < len(chunk) <= READ_SIZE for chunk in got)
            assert named(place) == []  # not even while it is there
        assert traces(place) == []

    @pytest.mark.parametrize("size", [0, 500, 5000])
    async def test_source_that_fails(self, kind: str, size: int, place: str) -> None:
        with pytest.raises(LookupError):
            async with SPOOLS[kind](failing(content(size)), place):
                pytest.fail("it was not whole")
        assert traces(place) == []

    @pytest.mark.parametrize("size", [0, 500, 5000])
    async def test_cancelled_on_the_way_in(self, kind: str, size: int, place: str) -> None:
        async def spool() -> None:
            async with SPOOLS[kind](stuck(content(size)), place):
                pass

        task = asyncio.ensure_future(spool())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert traces(place) == []

    async def test_user_that_fails(self, kind: str, place: str) -> None:
        with pytest.raises(LookupError):
            async with (
                SPOOLS[kind](stream(content(5000)), place) as spool,
                aclosing(spool.chunks()) as chunks,
            ):
                async for _ in chunks:
                    raise LookupError
        assert traces(place) == []

    async def test_cancelled_on_the_way_out(self, kind: str, place: str) -> None:
        async def read() -> None:
            async with SPOOLS[kind](stream(content(5 * READ_SIZE), READ_SIZE), place) as spool:
                while True:
                    async with aclosing(spool.chunks()) as chunks:
                        async for _ in chunks:
                            await asyncio.sleep(0)

        task = asyncio.ensure_future(read())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert traces(place) == []


async def test_memory_is_bounded() -> None:
    with pytest.raises(TooLarge):
        async with memory_spool(stream(content(1001)), max_size=1000):
            pass
    async with memory_spool(stream(content(1000)), max_size=1000) as spool:
        assert spool.size == 1000


@pytest.mark.parametrize(("size", "in_file"), [(1000, False), (1001, True)])
async def test_spills_past_its_size(place: str, size: int, in_file: bool) -> None:
    async with spilling_spool(stream(content(size)), spill_size=1000, directory=place):
        assert bool(traces(place)) is in_file


async def test_large_body_is_held_in_a_file_only(place: str) -> None:
    """What was read ahead to decide is let go again."""
    async with spilling_spool(stream(bytes(8 * READ_SIZE), READ_SIZE), directory=place) as spool:
        assert spool.size == 8 * READ_SIZE


#: A character of each length in UTF-8, every line end, a byte order mark and a zero.
ODD_TEXT = "\ufeffa\u00e9\u20ac\U0001f600\r\nb\rc\n\x00\u2028" * 40


@pytest.mark.parametrize("spill_size", [0, 10_000])
@pytest.mark.parametrize("chunk_size", [1, 2, 3, 700])
async def test_text_is_given_back_as_it_was(place: str, spill_size: int, chunk_size: int) -> None:
    source = stream(ODD_TEXT.encode(), chunk_size)
    async with text_spool(source, spill_size=spill_size, directory=place) as spool:
        assert b"".join([chunk async for chunk in spool.chunks()]) == ODD_TEXT.encode()


async def test_wide_text_is_given_back_in_small_chunks() -> None:
    data = "\U0001f600".encode() * READ_SIZE
    async with text_spool(stream(data, 70_000), spill_size=len(data)) as spool:
        got = [chunk async for chunk in spool.chunks()]
    assert b"".join(got) == data
    assert max(map(len, got)) <= READ_SIZE


@pytest.mark.parametrize("spill_size", [0, 10_000])
@pytest.mark.parametrize("data", [b"a\xff", b"\xe2\x82", b"\xed\xa0\x80", b"\xc0\x80" * 900])
async def test_what_is_no_text(place: str, spill_size: int, data: bytes) -> None:
    with pytest.raises(NotText):
        async with text_spool(stream(data), spill_size=spill_size, directory=place):
            pytest.fail("it was taken")
    assert traces(place) == []
