"""What the driver for local files does underneath: order, locks, other processes, faults."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import shutil
import subprocess
import sys
import threading
from contextlib import AsyncExitStack, contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from quart_app.errors import NoSpace, NotFound, StorageError, StorageUnavailable
from quart_app.storage import LocalDriver, new_key

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

pytestmark = pytest.mark.asyncio(loop_scope="function")

#: A small blob takes a shorter way to the disk than a large one.
SHORT, LONG = [b"abc"], [b"a" * 100_000, b"b" * 100_000, b"c"]
BOTH = pytest.mark.parametrize("pieces", [SHORT, LONG], ids=["short", "long"])


@pytest.fixture
def driver(tmp_path: Path) -> LocalDriver:
    return LocalDriver(tmp_path)


async def stream(pieces: Sequence[bytes]) -> AsyncGenerator[list[bytes]]:
    for piece in pieces:
        yield [piece]


def key_with_place(root: Path) -> str:
    """A key whose directory is there already, so that faults hit the file itself."""
    key = new_key()
    (root / key[:2]).mkdir(exist_ok=True)
    return key


async def stored(driver: LocalDriver, pieces: Sequence[bytes] = SHORT) -> str:
    key = new_key()
    async with driver.put(key, stream(pieces), nothing) as blob:
        blob.keep()
    return key


async def read(driver: LocalDriver, key: str) -> None:
    async with driver.open(key):
        pass


def nothing() -> bytes:
    return b""


def files(root: Path) -> list[str]:
    found = [path for path in root.rglob("*") if path.is_file()]
    return [path.name for path in found if path.parent.name != "writers"]


async def walked(driver: LocalDriver) -> list[str]:
    return [key async for keys in driver.walk() for key in keys]


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


class TestOnDisk:
    @BOTH
    async def test_place(self, driver: LocalDriver, tmp_path: Path, pieces: list[bytes]) -> None:
        key = await stored(driver, pieces)
        path = tmp_path / key[:2] / key
        assert driver.relative_path(key) == str(path.relative_to(tmp_path))
        assert path.read_bytes() == b"".join(pieces)
        assert path.stat().st_mode & 0o007 == 0  # nobody else's

    @BOTH
    async def test_order(
        self,
        driver: LocalDriver,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        pieces: list[bytes],
    ) -> None:
        """Bytes are durable before they have their name, the name before anybody is told."""
        done: list[str] = []
        for name in ("writev", "fsync", "rename", "mkdir"):
            monkeypatch.setattr(os, name, recorded(done, name))
        key = new_key()
        async with driver.put(key, stream(pieces), nothing) as blob:
            writes = ["writev"] * len(pieces)
            [lock] = (tmp_path / "writers").iterdir()
            own, shard = f"fsync {key}.{lock.name}.part", f"fsync {key[:2]}"
            made = ["mkdir", "mkdir", f"fsync {tmp_path.name}"]
            assert done == [*made, *writes, own, "rename", shard]
            blob.keep()

    @BOTH
    async def test_blob_that_is_not_kept_yet_holds_no_descriptor(
        self, driver: LocalDriver, pieces: list[bytes]
    ) -> None:
        await stored(driver)  # takes the lock of the process
        before = open_descriptors()
        async with AsyncExitStack() as stack:
            for _ in range(50):
                await stack.enter_async_context(driver.put(new_key(), stream(pieces), nothing))
            assert open_descriptors() == before

    async def test_unfinished_blob_carries_the_name_of_a_lock(
        self, driver: LocalDriver, tmp_path: Path
    ) -> None:
        key = new_key()

        async def looking() -> AsyncGenerator[list[bytes]]:
            yield [LONG[0]]
            [lock] = (tmp_path / "writers").iterdir()
            assert files(tmp_path) == [f"{key}.{lock.name}.part"]
            assert locked(lock)
            with pytest.raises(NotFound):
                await read(driver, key)

        async with driver.put(key, looking(), nothing):
            assert files(tmp_path) == [key]
        await driver.close()
        assert list((tmp_path / "writers").iterdir()) == []

    async def test_modes_are_private(self, driver: LocalDriver, tmp_path: Path) -> None:
        key = await stored(driver)
        await driver.set_identity("0123456789abcdef")
        await driver.set_aside([key], date(2026, 1, 1))
        await stored(driver)
        await driver.close()
        below = [path for path in tmp_path.rglob("*") if path != tmp_path]
        assert {path.stat().st_mode & 0o027 for path in below} == {0}

    async def test_record_where_the_file_system_has_no_attributes(
        self, driver: LocalDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "setxattr", failing(errno.EOPNOTSUPP))
        key = new_key()
        async with driver.put(key, stream(SHORT), lambda: b"the record") as blob:
            blob.keep()
        assert sorted(files(tmp_path)) == [key, f"{key}.record"]
        for _ in range(2):
            found = await driver.look(key)
            assert found is not None
            assert found.record == b"the record"
            await driver.set_aside([key], date(2026, 1, 1))
        assert len(files(tmp_path)) == 2
        await driver.delete([key])
        assert files(tmp_path) == []
        with pytest.raises(LookupError):
            async with driver.put(key, stream(SHORT), lambda: b"the record"):
                raise LookupError
        assert files(tmp_path) == []

    async def test_space_is_left_free(self, tmp_path: Path) -> None:
        status = os.statvfs(tmp_path)
        driver = LocalDriver(tmp_path, min_free=status.f_blocks * status.f_frsize)
        assert await driver.free_space() == 0
        for pieces in (SHORT, LONG):
            with pytest.raises(NoSpace):
                await stored(driver, pieces)
        assert files(tmp_path) == []


class TestOthersFiles:
    """No walk and no removal touches names that the driver does not make, or follows a link."""

    @pytest.fixture
    def foreign(self, tmp_path: Path) -> list[Path]:
        root, outside = tmp_path / "files", tmp_path / "outside"
        key = new_key()
        names = [
            root / "README",
            root / "lost+found" / "x",
            root / "ab" / "notes.txt",
            root / "ab" / "cd.part",
            root / "ab" / f"{key.upper()}",
            root / "ab" / f"{key}.aaaaaaaa.part.bak",
            root / "ab" / key / "a file below a directory that is named as a blob",
            root / "ab" / f"{key}.aaaaaaaa.part" / "x",
            outside / key,
            outside / f"{key}.aaaaaaaa.part",
        ]
        for path in names:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"somebody's")
        links = [root / "xy", root / "ab" / new_key(), root / "ab" / f"{new_key()}.aaaaaaaa.part"]
        links[0].symlink_to(outside)
        links[1].symlink_to(outside / key)
        links[2].symlink_to(outside / key)
        return [*names, *links]

    @pytest.mark.parametrize("what", ["link", "file"])
    async def test_in_the_place_of_what_is_set_aside(self, tmp_path: Path, what: str) -> None:
        root, outside = tmp_path / "files", tmp_path / "outside"
        key = new_key()
        (outside / "2026-01-01").mkdir(parents=True)
        (outside / "2026-01-01" / key).write_bytes(b"somebody's")
        root.mkdir()
        if what == "link":
            (root / "aside").symlink_to(outside)
        else:
            (root / "aside").write_bytes(b"somebody's")
        driver = LocalDriver(root)
        assert [day async for day in driver.walk_aside()] == []
        await driver.delete([key])
        with pytest.raises(NotFound):
            await read(driver, key)
        with pytest.raises(StorageError):
            await driver.set_aside([await stored(driver)], date(2026, 1, 1))
        assert (outside / "2026-01-01" / key).read_bytes() == b"somebody's"

    async def test_are_left_alone(self, tmp_path: Path, foreign: list[Path]) -> None:
        driver = LocalDriver(tmp_path / "files")
        mine = await stored(driver)
        assert await walked(driver) == [mine]
        assert await driver.clean() == 0
        assert all(os.path.lexists(path) for path in foreign)
        for path in foreign:
            assert await driver.look(path.name) is None or path.name == foreign[8].name


class TestReplaced:
    """A directory that was swapped under the driver gets no acknowledgement."""

    @pytest.mark.parametrize("how", ["removed", "moved", "another"])
    @BOTH
    async def test_directory(self, tmp_path: Path, how: str, pieces: list[bytes]) -> None:
        root = tmp_path / "files"
        root.mkdir()
        driver = LocalDriver(root)
        key = await stored(driver, pieces)
        moved = root.rename(tmp_path / "moved")
        if how == "removed":
            shutil.rmtree(moved)
        if how == "another":
            root.mkdir()
        for call in (driver.check, driver.identity, lambda: stored(driver, pieces)):
            with pytest.raises(StorageUnavailable):
                await call()
        with pytest.raises(StorageUnavailable):
            await read(driver, key)
        if how != "removed":
            shutil.rmtree(root, ignore_errors=True)
            moved.rename(root)
            await driver.check()
            await read(driver, key)

    async def test_in_the_middle_of_a_write(self, tmp_path: Path) -> None:
        root = tmp_path / "files"
        root.mkdir()
        driver = LocalDriver(root)
        await stored(driver)

        async def swapping() -> AsyncGenerator[list[bytes]]:
            yield [LONG[0]]
            root.rename(tmp_path / "moved")
            shutil.copytree(tmp_path / "moved", root)
            yield [LONG[1]]

        with pytest.raises(StorageUnavailable):
            async with driver.put(new_key(), swapping(), nothing):
                pytest.fail("it is in another directory")


def recorded(done: list[str], name: str) -> Any:
    function = getattr(os, name)

    def record(first: Any, *args: Any, **options: Any) -> Any:
        where = Path(f"/proc/self/fd/{first}").readlink().name if name == "fsync" else ""
        result = function(first, *args, **options)
        done.append(f"{name} {where}".strip())
        return result

    return record


class Writer:
    """`storage_writer` in a process of its own."""

    def __init__(self, root: Path, key: str) -> None:
        script = str(Path(__file__).with_name("storage_writer.py"))
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([sys.executable, script, str(root), key], **pipes)

    def comes_to(self, step: str) -> None:
        stdin, stdout = cast("Any", self.process.stdin), cast("Any", self.process.stdout)
        while (said := stdout.readline().strip()) != step:
            assert said, "it ended"
            stdin.write("\n")
            stdin.flush()


@contextmanager
def writer(root: Path, key: str) -> Iterator[Writer]:
    other = Writer(root, key)
    with other.process:
        try:
            yield other
        finally:
            other.process.kill()


class TestOtherProcesses:
    @pytest.mark.parametrize("step", ["unfinished", "durable"])
    async def test_writer_is_spared_and_a_killed_one_swept(
        self, driver: LocalDriver, tmp_path: Path, step: str
    ) -> None:
        key = new_key()
        with writer(tmp_path, key) as other:
            other.comes_to(step)
            assert (await driver.clean(dry_run=True), await driver.clean()) == (0, 0)
            [name] = files(tmp_path)
            assert name.endswith(".part") == (step == "unfinished")
        assert await driver.clean(dry_run=True) == (step == "unfinished")
        assert files(tmp_path) == [name]
        assert await driver.clean() == (step == "unfinished")
        # A durable blob may be the whole of an acknowledged file: it stays, and is listed.
        assert files(tmp_path) == await walked(driver) == ([key] if step == "durable" else [])
        assert list((tmp_path / "writers").iterdir()) == []

    async def test_unfinished_blob_of_an_older_version(
        self, driver: LocalDriver, tmp_path: Path
    ) -> None:
        key = key_with_place(tmp_path)
        path = tmp_path / key[:2] / f"{key}.part"
        path.write_bytes(b"unfinished")
        assert await driver.clean() == 0
        day_before_yesterday = path.stat().st_mtime - 2 * 86_400
        os.utime(path, (day_before_yesterday, day_before_yesterday))
        assert await driver.clean() == 1

    async def test_what_was_kept_outlives_a_killed_writer(
        self, driver: LocalDriver, tmp_path: Path
    ) -> None:
        key = new_key()
        with writer(tmp_path, key) as other:
            other.comes_to("kept")
        [path] = tmp_path.rglob(key)
        assert path.read_bytes() == b"x" * 200_000


FAULTS = [
    (errno.ENOSPC, NoSpace),
    (errno.EDQUOT, NoSpace),
    (errno.EFBIG, NoSpace),
    (errno.EROFS, StorageUnavailable),
    (errno.EACCES, StorageUnavailable),
    (errno.EIO, StorageUnavailable),
    (errno.EMFILE, StorageUnavailable),
    (errno.EXDEV, StorageError),
]


class TestFaults:
    """Wherever the disk fails, the error is one of ours and nothing is left."""

    @BOTH
    @pytest.mark.parametrize(("number", "error"), FAULTS)
    @pytest.mark.parametrize("call", ["open", "writev", "fsync", "rename"])
    async def test_of_a_write(
        self,
        driver: LocalDriver,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        call: str,
        number: int,
        error: type[StorageError],
        pieces: list[bytes],
    ) -> None:
        await stored(driver)
        before = files(tmp_path)
        descriptors = open_descriptors()
        for key in (key_with_place(tmp_path), new_key()):
            with monkeypatch.context() as patch, pytest.raises(StorageError) as raised:
                patch.setattr(os, call, failing(number))
                async with driver.put(key, stream(pieces), nothing):
                    pytest.fail("it was not written")
            assert raised.type is error
            assert isinstance(raised.value.__cause__, OSError)
            assert files(tmp_path) == before
        assert open_descriptors() == descriptors

    @pytest.mark.parametrize(("number", "error"), FAULTS)
    async def test_of_reading_and_removing(
        self,
        driver: LocalDriver,
        monkeypatch: pytest.MonkeyPatch,
        number: int,
        error: type[StorageError],
    ) -> None:
        key = await stored(driver)
        for name, call in (("open", read(driver, key)), ("unlink", driver.delete([key]))):
            with monkeypatch.context() as patch, pytest.raises(StorageError) as raised:
                patch.setattr(os, name, failing(number))
                await call
            assert raised.type is error

    @BOTH
    async def test_of_the_clean_up_hides_no_other(
        self,
        driver: LocalDriver,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        pieces: list[bytes],
    ) -> None:
        """What could not be removed is a leftover, for the next sweep."""
        key = key_with_place(tmp_path)
        with monkeypatch.context() as patch, pytest.raises(NoSpace):
            patch.setattr(os, "fsync", failing(errno.ENOSPC))
            patch.setattr(os, "unlink", failing(errno.EIO))
            async with driver.put(key, stream(pieces), nothing):
                pytest.fail("it was not written")
        [left] = files(tmp_path)
        assert left.endswith(".part")
        assert await driver.clean() == 0  # its process lives
        await driver.close()
        assert await LocalDriver(tmp_path).clean() == 1
        assert files(tmp_path) == []

    async def test_directory_that_is_gone(self, tmp_path: Path) -> None:
        driver = LocalDriver(tmp_path / "gone")
        with pytest.raises(StorageUnavailable):
            await driver.check()
        with pytest.raises(StorageError):
            await stored(driver)


def failing(number: int) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@BOTH
@pytest.mark.parametrize("call", ["writev", "fsync", "rename"])
async def test_cancelled_while_the_disk_stalls(
    driver: LocalDriver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    pieces: list[bytes],
) -> None:
    """The descriptor is not closed under a call that hangs, and all is gone when it ends."""
    entered, opened = threading.Event(), threading.Event()
    function = getattr(os, call)

    def stalled(*args: Any, **options: Any) -> Any:
        entered.set()
        opened.wait(30)
        return function(*args, **options)

    key = key_with_place(tmp_path)

    async def put() -> None:
        async with driver.put(key, stream(pieces), nothing):
            pytest.fail("it was cancelled")

    monkeypatch.setattr(os, call, stalled)
    task = asyncio.ensure_future(put())
    await asyncio.to_thread(entered.wait, 30)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.01)
    assert not task.done()
    [name] = files(tmp_path)
    assert await LocalDriver(tmp_path).clean() == 0
    opened.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert name.endswith(".part")
    assert files(tmp_path) == []
