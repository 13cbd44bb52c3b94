"""What every storage driver promises; `test_local_storage` has what is about files."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
from contextlib import aclosing, contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import pytest

from quart_app.errors import NoSpace, NotFound
from quart_app.models import MIB, ByteRange
from quart_app.storage import Driver, Found, LocalDriver, MemoryDriver, SpaceReporting, new_key
from quart_app.streaming import READ_SIZE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.asyncio(loop_scope="function")

CAPACITY = 8 * MIB

SIZES = [0, 1, 65_535, 65_536, READ_SIZE + 1, 3 * READ_SIZE]

#: Errors of a source, among them such as a disk raises too.
SOURCE_ERRORS = [
    LookupError("of the source"),
    TimeoutError("of the source"),
    ConnectionResetError("of the source"),
    OSError(errno.ENOSPC, "of the source"),
    OSError(errno.EIO, "of the source"),
]

#: A small blob takes a shorter way to the disk than a large one.
SHORT, LONG = [[b"abc"]], [[b"a" * 100_000], [b"b" * 100_000], [b"c"]]


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
        found = [path for path in self.root.rglob("*") if path.is_file()]
        return {path.name: path.read_bytes() for path in found if path.parent.name != "writers"}

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
        self.driver._found[key] = Found(key, len(data), datetime.now(UTC), None)


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
    async with driver.put(key, stream(pieces), record_of(key)) as blob:
        blob.keep()
    return key


def record_of(key: str) -> Callable[[], bytes]:
    return f"record of {key}".encode


def nothing() -> bytes:
    return b""


async def walked(driver: Driver) -> list[str]:
    return sorted([key async for keys in driver.walk() for key in keys])


async def aside(driver: Driver) -> dict[str, date]:
    return {key: day async for day, keys in driver.walk_aside() for key in keys}


async def read(driver: Driver, key: str, start: int = 0, stop: int | None = None) -> bytes:
    async with driver.open(key) as reader:
        wanted = ByteRange(start, reader.size if stop is None else stop)
        return b"".join([chunk async for chunk in reader.chunks(wanted)])


async def free(driver: Driver) -> int:
    return await driver.free_space() if isinstance(driver, MemoryDriver) else 0


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
        async with driver.put(key, stream(pieces), nothing):
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
        await driver.delete([key])
        assert behind().keys() == {other}
        with pytest.raises(NotFound):
            await read(driver, key)
        await driver.delete([other])
        assert await free(driver) == before

    async def test_of_nothing_is_no_error(self, driver: Driver) -> None:
        key = await stored(driver)
        for _ in range(2):
            await driver.delete([key])
        await driver.delete([new_key()])

    async def test_disturbs_no_reader(self, driver: Driver) -> None:
        key = await stored(driver, [[os.urandom(READ_SIZE)] * 4])
        async with driver.open(key) as reader:
            chunks = reader.chunks(ByteRange(0, reader.size))
            size = len(await anext(chunks))
            await driver.delete([key])
            assert size + sum([len(chunk) async for chunk in chunks]) == 4 * READ_SIZE


class TestFailure:
    """Nothing is left to be seen, and no space is lost."""

    @pytest.mark.parametrize("error", SOURCE_ERRORS, ids=repr)
    @pytest.mark.parametrize("before", [[], SHORT, LONG, [[b"x" * 65_536]], LONG * 3])
    async def test_of_the_source(
        self, driver: Driver, behind: BackDoor, before: list[list[bytes]], error: Exception
    ) -> None:
        async def failing() -> AsyncGenerator[list[bytes]]:
            async for piece in stream(before):
                yield piece
            raise error

        space = await free(driver)
        with pytest.raises(type(error)) as raised:
            async with driver.put(new_key(), failing(), nothing):
                pytest.fail("it is not whole")
        assert raised.value is error
        assert (behind(), await free(driver)) == ({}, space)

    @pytest.mark.parametrize("pieces", [[], SHORT, LONG])
    async def test_of_the_caller(
        self, driver: Driver, behind: BackDoor, pieces: list[list[bytes]]
    ) -> None:
        space = await free(driver)
        with pytest.raises(LookupError):
            async with driver.put(new_key(), stream(pieces), nothing):
                raise LookupError
        assert (behind(), await free(driver)) == ({}, space)

    async def test_of_the_caller_after_it_has_kept(self, driver: Driver, behind: BackDoor) -> None:
        key = new_key()
        with pytest.raises(LookupError):
            async with driver.put(key, stream(LONG), nothing) as blob:
                blob.keep()
                raise LookupError
        assert behind() == {key: joined(LONG)}

    async def test_no_space(self, driver: Driver, behind: BackDoor) -> None:
        space = await free(driver)
        too_much = [[bytes(MIB)] for _ in range(CAPACITY // MIB + 1)]
        with full(driver):
            for _ in range(3):
                with pytest.raises(NoSpace):
                    async with driver.put(new_key(), stream(too_much), nothing):
                        pytest.fail("it does not fit")
                assert (behind(), await free(driver)) == ({}, space)
            await driver.delete([await stored(driver, too_much[1:])])

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
        async with driver.put(new_key(), stream(pieces), nothing):
            await asyncio.sleep(0)


class TestRecords:
    @pytest.mark.parametrize("pieces", [[], SHORT, LONG])
    async def test_lie_beside_the_bytes(self, driver: Driver, pieces: list[list[bytes]]) -> None:
        before = datetime.now(UTC) - timedelta(seconds=1)
        key = await stored(driver, pieces)
        found = await driver.look(key)
        assert found is not None
        assert (found.key, found.size) == (key, len(joined(pieces)))
        assert found.record == record_of(key)()
        assert before <= found.written_at <= datetime.now(UTC) + timedelta(seconds=1)
        await driver.delete([key])
        assert await driver.look(key) is None

    async def test_may_be_large(self, driver: Driver) -> None:
        key = new_key()
        async with driver.put(key, stream(SHORT), lambda: b"x" * 65_536) as blob:
            blob.keep()
        found = await driver.look(key)
        assert found is not None
        assert found.record == b"x" * 65_536

    async def test_are_asked_for_after_the_last_byte(self, driver: Driver) -> None:
        seen: list[str] = []

        async def seeing() -> AsyncGenerator[list[bytes]]:
            async for piece in stream(LONG):
                yield piece
            seen.append("last byte")

        def describe() -> bytes:
            seen.append("record")
            return b""

        async with driver.put(new_key(), seeing(), describe):
            assert seen == ["last byte", "record"]

    async def test_of_a_failing_description(self, driver: Driver, behind: BackDoor) -> None:
        def failing() -> bytes:
            raise LookupError

        for pieces in (SHORT, LONG):
            with pytest.raises(LookupError):
                async with driver.put(new_key(), stream(pieces), failing):
                    pytest.fail("it has no record")
        assert behind() == {}


class TestWalks:
    async def test_of_an_empty_store(self, driver: Driver) -> None:
        assert (await walked(driver), await aside(driver)) == ([], {})
        assert await driver.clean() == 0

    async def test_meet_every_blob_once(self, driver: Driver, behind: BackDoor) -> None:
        keys = [await stored(driver, pieces) for pieces in (SHORT, LONG, [])]
        planted = new_key()
        behind.plant(planted, b"left by a crash")
        assert await walked(driver) == sorted([*keys, planted])

    @pytest.mark.parametrize("pieces", [SHORT, LONG])
    async def test_leave_out_what_is_written(
        self, driver: Driver, pieces: list[list[bytes]]
    ) -> None:
        async def watched() -> AsyncGenerator[list[bytes]]:
            async for piece in stream(pieces):
                assert (await walked(driver), await driver.clean()) == ([], 0)
                yield piece

        key = new_key()
        async with driver.put(key, watched(), nothing) as blob:
            assert (await walked(driver), await driver.clean()) == ([], 0)
            blob.keep()
        assert await walked(driver) == [key]
        assert await read(driver, key) == joined(pieces)

    async def test_blobs_set_aside(self, driver: Driver, behind: BackDoor) -> None:
        day = date(2026, 2, 28)
        mine, other = await stored(driver, LONG), await stored(driver)
        await driver.set_aside([mine, new_key()], day)
        assert (await walked(driver), await aside(driver)) == ([other], {mine: day})
        assert await read(driver, mine) == joined(LONG)  # whoever knows the key still reads it
        found = await driver.look(mine)
        assert found is not None
        assert found.record == record_of(mine)()
        await driver.restore([mine, new_key()])
        assert (await walked(driver), await aside(driver)) == (sorted([mine, other]), {})
        await driver.set_aside([mine], day)
        await driver.delete([mine])
        assert await aside(driver) == {}
        assert behind().keys() == {other}

    async def test_at_once(self, driver: Driver, behind: BackDoor) -> None:
        keys = [await stored(driver) for _ in range(20)]
        days = [date(2026, 1, 1), date(2026, 1, 2)]
        await asyncio.gather(*(driver.set_aside(keys, day) for day in days))
        assert (await aside(driver)).keys() == set(keys)
        await asyncio.gather(*(driver.delete(keys) for _ in range(4)))
        assert behind() == {}


class TestIdentity:
    async def test_stays(self, driver: Driver) -> None:
        assert await driver.identity() is None
        for identity in ("0123456789abcdef", "fedcba9876543210"):
            await driver.set_identity(identity)
            assert await driver.identity() == identity


class TestSpace:
    async def test_falls_and_rises(self, driver: Driver) -> None:
        assert isinstance(driver, SpaceReporting)
        assert await driver.free_space() > 0

    async def test_check(self, driver: Driver) -> None:
        await driver.check()
