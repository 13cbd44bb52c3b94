"""What every storage driver promises; `test_local_storage` has what is about files."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
from contextlib import aclosing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from quart_app.errors import NoSpace, NotFound
from quart_app.models import MIB, ByteRange
from quart_app.storage import Driver, LocalDriver, MemoryDriver, SpaceReporting, new_key
from quart_app.streaming import READ_SIZE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.asyncio(loop_scope="function")

CAPACITY = 8 * MIB

SIZES = [0, 1, 65_535, 65_536, READ_SIZE + 1, 3 * READ_SIZE]

#: A small blob takes a shorter way to the disk than a large one.
SHORT, LONG = [[b"abc"]], [[b"a" * 100_000], [b"b" * 100_000], [b"c"]]


#: Errors that a source may raise.
SOURCE_ERRORS = (
    LookupError("of the source"),
    TimeoutError("of the source"),
    ConnectionResetError("of the source"),
    OSError(errno.ENOSPC, "of the source"),
    FileNotFoundError(errno.ENOENT, "of the source"),
    NoSpace("of the source"),
)


class BackDoor(Protocol):
    """Looks past a driver, and plants what a crash may have left."""

    def __call__(self) -> dict[str, bytes]:
        """Gives all that is there, finished or not, by name."""
        ...

    def plant(self, key: str, data: bytes) -> None: ...


class LocalBackDoor:
    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.root.rglob("*") if path.is_file()}

    def plant(self, key: str, data: bytes) -> None:
        (self.root / key[:2]).mkdir(exist_ok=True)
        (self.root / key[:2] / key).write_bytes(data)


class MemoryBackDoor:
    def __init__(self, driver: MemoryDriver) -> None:
        self.driver = driver

    def __call__(self) -> dict[str, bytes]:
        return dict(self.driver.blobs)

    def plant(self, key: str, data: bytes) -> None:
        self.driver.blobs[key] = data


@pytest.fixture
def local(tmp_path: Path) -> LocalDriver:
    return LocalDriver(tmp_path)


@pytest.fixture(params=["local", "memory"])
def driver(request: pytest.FixtureRequest, local: LocalDriver) -> Driver:
    return local if request.param == "local" else MemoryDriver(CAPACITY)


@pytest.fixture
def behind(driver: Driver, tmp_path: Path) -> BackDoor:
    return MemoryBackDoor(driver) if isinstance(driver, MemoryDriver) else LocalBackDoor(tmp_path)


@contextmanager
def full(driver: Driver) -> Iterator[None]:
    """A store that takes no more than `CAPACITY`."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if isinstance(driver, LocalDriver):
        resource.setrlimit(resource.RLIMIT_FSIZE, (CAPACITY, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


async def stream(pieces: Sequence[list[bytes]]) -> AsyncGenerator[list[bytes]]:
    for piece in pieces:
        await asyncio.sleep(0)
        yield piece


def joined(pieces: Sequence[list[bytes]]) -> bytes:
    return b"".join(b"".join(piece) for piece in pieces)


async def stored(driver: Driver, pieces: Sequence[list[bytes]] = SHORT) -> str:
    key = new_key()
    async with driver.put(key, stream(pieces)) as blob:
        blob.keep()
    return key


async def read(driver: Driver, key: str, start: int = 0, stop: int | None = None) -> bytes:
    async with driver.open(key) as reader:
        wanted = ByteRange(start, reader.size if stop is None else stop)
        return b"".join([chunk async for chunk in reader.chunks(wanted)])


async def free(driver: Driver) -> int:
    return await driver.free_space() if isinstance(driver, MemoryDriver) else 0


def knowing(*keys: str) -> Callable[[Sequence[str]], Any]:
    async def known(asked: Sequence[str]) -> set[str]:
        return set(keys) & set(asked)

    return known


class TestBlobs:
    @pytest.mark.parametrize("size", SIZES)
    async def test_come_back_as_they_were(
        self, driver: Driver, behind: BackDoor, size: int
    ) -> None:
        data = os.urandom(size)
        pieces = [[data[at : at + 300_000]] for at in range(0, size, 300_000)]
        key = await stored(driver, pieces)
        assert behind() == {key: data}
        async with driver.open(key) as reader:
            assert reader.size == size
        assert await read(driver, key) == data
        for start, stop in [(0, 0), (size // 3, size), (0, size // 2), (size, size)]:
            assert await read(driver, key, start, stop) == data[start:stop]

    async def test_reader_may_be_used_again(self, driver: Driver) -> None:
        async with driver.open(await stored(driver, LONG)) as reader:
            for at in range(3):
                wanted = ByteRange(at, at + 150_000)
                got = b"".join([chunk async for chunk in reader.chunks(wanted)])
                assert got == joined(LONG)[at : at + 150_000]

    async def test_reader_left_early(self, driver: Driver) -> None:
        key = await stored(driver, [[bytes(READ_SIZE)]] * 4)
        async with driver.open(key) as reader:
            async with aclosing(reader.chunks(ByteRange(0, reader.size))) as chunks:
                await anext(chunks)
            assert len(await anext(aiter(reader.chunks(ByteRange(5, 6))))) == 1

    @pytest.mark.parametrize("pieces", [SHORT, LONG])
    async def test_are_readable_before_they_are_kept(
        self, driver: Driver, behind: BackDoor, pieces: list[list[bytes]]
    ) -> None:
        key = new_key()
        async with driver.put(key, stream(pieces)):
            assert await read(driver, key) == joined(pieces)
        assert behind() == {}

    async def test_that_are_missing(self, driver: Driver) -> None:
        with pytest.raises(NotFound):
            await read(driver, new_key())

    async def test_many_at_once(self, driver: Driver, behind: BackDoor) -> None:
        keys = await asyncio.gather(*(stored(driver, [[b"%d" % n]]) for n in range(100)))
        assert behind() == {key: b"%d" % n for n, key in enumerate(keys)}
        got = await asyncio.gather(*(read(driver, key) for key in keys))
        assert got == [b"%d" % n for n in range(100)]


class TestDeletion:
    async def test_removes(self, driver: Driver, behind: BackDoor) -> None:
        before = await free(driver)
        key, other = await stored(driver, LONG), await stored(driver)
        await driver.delete(key)
        assert behind().keys() == {other}
        with pytest.raises(NotFound):
            await read(driver, key)
        await driver.delete(other)
        assert await free(driver) == before

    async def test_of_nothing_is_no_error(self, driver: Driver) -> None:
        key = await stored(driver)
        for _ in range(2):
            await driver.delete(key)
        await driver.delete(new_key())

    async def test_disturbs_no_reader(self, driver: Driver) -> None:
        key = await stored(driver, [[os.urandom(READ_SIZE)] * 4])
        async with driver.open(key) as reader:
            chunks = reader.chunks(ByteRange(0, reader.size))
            size = len(await anext(chunks))
            await driver.delete(key)
            assert size + sum([len(chunk) async for chunk in chunks]) == 4 * READ_SIZE


class TestFailure:
    """Nothing is left to be seen, and no space is lost."""

    @pytest.mark.parametrize("before", [[], SHORT, LONG, [[b"x" * 65_536]], LONG * 3])
    @pytest.mark.parametrize("error", SOURCE_ERRORS, ids=repr)
    async def test_of_the_source(
        self, driver: Driver, behind: BackDoor, before: list[list[bytes]], error: Exception
    ) -> None:
        """It passes untouched, also where it could be one of the disk or the network."""

        async def failing() -> AsyncGenerator[list[bytes]]:
            async for piece in stream(before):
                yield piece
            raise error

        space = await free(driver)
        with pytest.raises(type(error)) as raised:
            async with driver.put(new_key(), failing()):
                pytest.fail("it is not whole")
        assert raised.value is error
        assert (behind(), await free(driver)) == ({}, space)

    @pytest.mark.parametrize("pieces", [[], SHORT, LONG])
    async def test_of_the_caller(
        self, driver: Driver, behind: BackDoor, pieces: list[list[bytes]]
    ) -> None:
        space = await free(driver)
        with pytest.raises(LookupError):
            async with driver.put(new_key(), stream(pieces)):
                raise LookupError
        assert (behind(), await free(driver)) == ({}, space)

    async def test_of_the_caller_after_it_has_kept(self, driver: Driver, behind: BackDoor) -> None:
        key = new_key()
        with pytest.raises(LookupError):
            async with driver.put(key, stream(LONG)) as blob:
                blob.keep()
                raise LookupError
        assert behind() == {key: joined(LONG)}

    async def test_no_space(self, driver: Driver, behind: BackDoor) -> None:
        space = await free(driver)
        too_much = [[bytes(MIB)] for _ in range(CAPACITY // MIB + 1)]
        with full(driver):
            for _ in range(3):
                with pytest.raises(NoSpace):
                    async with driver.put(new_key(), stream(too_much)):
                        pytest.fail("it does not fit")
                assert (behind(), await free(driver)) == ({}, space)
            await driver.delete(await stored(driver, too_much[1:]))

    @pytest.mark.parametrize("pieces", [[], SHORT, LONG, [[bytes(MIB)]] * 5])
    async def test_cancelled_at_any_moment(
        self, driver: Driver, behind: BackDoor, pieces: list[list[bytes]]
    ) -> None:
        """From before its first step until it is through, and whatever threads are at."""
        space = await free(driver)
        for turns in range(200):
            task = asyncio.ensure_future(self.put_without_keeping(driver, pieces))
            for _ in range(turns):
                await asyncio.sleep(0.0002 if turns % 2 else 0)
            done = task.done()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            assert (behind(), await free(driver)) == ({}, space)
            if done and turns % 2:
                return

    async def put_without_keeping(self, driver: Driver, pieces: list[list[bytes]]) -> None:
        async with driver.put(new_key(), stream(pieces)):
            await asyncio.sleep(0)


class TestSweep:
    async def test_of_an_empty_store(self, driver: Driver) -> None:
        assert await driver.sweep(knowing()) == 0

    async def test_removes_what_nobody_knows(self, driver: Driver, behind: BackDoor) -> None:
        mine, unknown, planted = await stored(driver), await stored(driver, LONG), new_key()
        behind.plant(planted, b"left by a crash")
        assert await driver.sweep(knowing(mine, new_key())) == 2
        assert behind() == {mine: joined(SHORT)}
        assert await driver.sweep(knowing(mine)) == 0
        with pytest.raises(NotFound):
            await read(driver, unknown)

    @pytest.mark.parametrize("pieces", [SHORT, LONG])
    async def test_spares_what_is_written(
        self, driver: Driver, behind: BackDoor, pieces: list[list[bytes]]
    ) -> None:
        async def swept() -> AsyncGenerator[list[bytes]]:
            async for piece in stream(pieces):
                assert await driver.sweep(knowing()) == 0
                yield piece

        key = new_key()
        async with driver.put(key, swept()) as blob:
            assert await driver.sweep(knowing()) == 0
            blob.keep()
        assert await driver.sweep(knowing(key)) == 0
        assert await read(driver, key) == joined(pieces)

    async def test_spares_what_becomes_somebodys_meanwhile(
        self, driver: Driver, behind: BackDoor
    ) -> None:
        """A key that was not known when the sweep first asked may be by the time it acts."""
        rows: set[str] = set()

        async def known(asked: Sequence[str]) -> set[str]:
            found = rows & set(asked)
            await asyncio.sleep(0)
            return found

        async def keep_adding() -> None:
            for _ in range(60):
                key = new_key()
                async with driver.put(key, stream(SHORT)) as blob:
                    rows.add(key)
                    blob.keep()

        async def keep_sweeping() -> None:
            while True:
                assert await driver.sweep(known) == 0

        sweeping = [asyncio.ensure_future(keep_sweeping()) for _ in range(2)]
        await asyncio.gather(*(keep_adding() for _ in range(4)))
        for task in sweeping:
            task.cancel()
        await asyncio.gather(*sweeping, return_exceptions=True)
        assert behind().keys() == rows

    async def test_many_at_once(self, driver: Driver, behind: BackDoor) -> None:
        for _ in range(20):
            behind.plant(new_key(), b"left by a crash")
        removed = await asyncio.gather(*(driver.sweep(knowing()) for _ in range(4)))
        assert behind() == {}
        assert sum(removed) >= 20


class TestSpace:
    async def test_falls_and_rises(self, driver: Driver) -> None:
        assert isinstance(driver, SpaceReporting)
        assert await driver.free_space() > 0

    async def test_check(self, driver: Driver) -> None:
        await driver.check()
