"""What the driver for local files does underneath: order, locks, other processes, faults."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
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
    async with driver.put(key, stream(pieces)) as blob:
        blob.keep()
    return key


async def read(driver: LocalDriver, key: str) -> None:
    async with driver.open(key):
        pass


async def nothing_known(_: Sequence[str]) -> set[str]:
    return set()


def files(root: Path) -> list[str]:
    return [path.name for path in root.rglob("*") if path.is_file()]


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
        async with driver.put(key, stream(pieces)) as blob:
            writes = ["writev"] * len(pieces)
            own, shard = f"fsync {key}.part", f"fsync {key[:2]}"
            made = ["mkdir", f"fsync {tmp_path.name}"]
            assert done == [*made, *writes, own, "rename", shard]
            blob.keep()

    @BOTH
    async def test_lock(self, driver: LocalDriver, tmp_path: Path, pieces: list[bytes]) -> None:
        key = new_key()
        async with driver.put(key, stream(pieces)) as blob:
            [path] = tmp_path.rglob(key)
            assert locked(path)
            blob.keep()
        assert not locked(path)

    async def test_unfinished_blob_is_locked_and_has_another_name(
        self, driver: LocalDriver, tmp_path: Path
    ) -> None:
        key = new_key()

        async def looking() -> AsyncGenerator[list[bytes]]:
            yield [LONG[0]]
            assert files(tmp_path) == [f"{key}.part"]
            assert locked(next(tmp_path.rglob("*.part")))
            with pytest.raises(NotFound):
                await read(driver, key)

        async with driver.put(key, looking()):
            assert files(tmp_path) == [key]

    async def test_sweep_leaves_what_is_not_the_drivers(
        self, driver: LocalDriver, tmp_path: Path
    ) -> None:
        (tmp_path / "lost+found").mkdir()
        (tmp_path / "lost+found" / "x").touch()
        (tmp_path / "README").touch()
        assert await driver.sweep(nothing_known) == 0
        assert sorted(files(tmp_path)) == ["README", "x"]


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
            assert await driver.sweep(nothing_known) == 0
            assert files(tmp_path) == [f"{key}.part" if step == "unfinished" else key]
        if step == "unfinished":
            with pytest.raises(NotFound):
                await read(driver, key)
        assert await driver.sweep(nothing_known) == 1
        assert files(tmp_path) == []

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
                async with driver.put(key, stream(pieces)):
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
        for name, call in (("open", read(driver, key)), ("unlink", driver.delete(key))):
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
            async with driver.put(key, stream(pieces)):
                pytest.fail("it was not written")
        assert len(files(tmp_path)) == 1
        assert await driver.sweep(nothing_known) == 1
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
        async with driver.put(key, stream(pieces)):
            pytest.fail("it was cancelled")

    monkeypatch.setattr(os, call, stalled)
    task = asyncio.ensure_future(put())
    await asyncio.to_thread(entered.wait, 30)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.01)
    assert not task.done()
    [path] = [path for path in tmp_path.rglob("*") if path.is_file()]
    was_locked = locked(path)
    opened.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert was_locked
    assert files(tmp_path) == []
