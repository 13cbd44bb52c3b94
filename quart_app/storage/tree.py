"""The layout of a directory of blobs, and the walks through it; every function blocks.

    root/quart-app.identity      the identity that the directory shares with its catalog
    root/writers/NAME            locked (flock) by a process for as long as it may write
    root/ab/KEY                  a blob whose key begins with "ab", its record as an attribute
    root/ab/KEY.record           its record, where the file system has no attributes
    root/ab/KEY.NAME.part        a blob that the process with the lock NAME is writing
    root/aside/2026-01-31/KEY    a blob that no catalog entry names, since that day

No other name is ever touched, and no link is followed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from contextlib import suppress
from datetime import UTC, date, datetime
from stat import S_ISREG
from typing import TYPE_CHECKING

from quart_app.models import KIB
from quart_app.storage.contract import Found
from quart_app.streaming import PinnedPath

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "PRIVATE_DIRECTORY",
    "PRIVATE_FILE",
    "Tree",
    "remove_record",
    "sync_directory",
    "write_record",
]

#: Leading characters of a key that name its directory: 1,024 directories.
SHARD_LENGTH = 2

SHARD = re.compile(r"[a-z2-7]{2}")
KEY = re.compile(r"[a-z2-7]{26}")
PART = re.compile(r"[a-z2-7]{26}(?:\.(?P<writer>[a-z2-7]{8}))?\.part")
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

IDENTITY_NAME = "quart-app.identity"
WRITERS_NAME = "writers"
ASIDE_NAME = "aside"

#: Extended attribute of a blob that holds its record.
RECORD_ATTRIBUTE = "user.quart_app.record"
RECORD_SUFFIX = ".record"
MOST_RECORD_SIZE = 64 * KIB

#: Errors of a file system that has no attributes, or no room for this one.
NO_ATTRIBUTE = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.E2BIG, errno.ERANGE,
                errno.ENOSPC, errno.EDQUOT}  # fmt: skip

#: Age from which a record without a blob, or an unfinished write without the name of its process,
#: is a leftover.
LONE_AGE_SECONDS = 86_400.0

#: Flags that open a directory, and no link to one.
OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

PRIVATE_DIRECTORY = 0o750
PRIVATE_FILE = 0o640


class Tree:
    """A directory of blobs.

    Args:
        root: The directory; a missing one makes every call fail.
        min_free: Bytes of the file system that writes leave free.
    """

    def __init__(self, root: Path, min_free: int) -> None:
        self.root = root
        self.writers = root / WRITERS_NAME
        self._aside = root / ASIDE_NAME
        self._min_free = min_free
        self._pinned = PinnedPath(root)

    def verify(self) -> None:
        """Return if `root` is still the directory that it was at the first call.

        Raises:
            OSError: It is missing (`ENOENT`) or another one (`ESTALE`).
        """
        self._pinned.verify()

    def is_writable(self) -> bool:
        """Return whether blobs can be written; raises as `verify` does."""
        self.verify()
        return os.access(self.root, os.R_OK | os.W_OK | os.X_OK)

    def path(self, key: str) -> Path:
        """Return the place of a blob."""
        return self.root / key[:SHARD_LENGTH] / key

    def places(self, key: str) -> Iterator[Path]:
        """Yield every place where a blob may be: its own, then those of blobs set aside."""
        yield self.path(key)
        for _, directory in self.days():
            yield directory / key

    def free_space(self) -> int:
        """Return the bytes that an unprivileged user may write above the free space to leave."""
        status = os.statvfs(self.root)
        return max(0, status.f_bavail * status.f_frsize - self._min_free)

    def require_room(self, size: int) -> None:
        """Return if `size` bytes may be written.

        Raises:
            OSError: They would use the space to leave free (`ENOSPC`).
        """
        if size > self.free_space():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    # Walks.

    def shards(self) -> list[Path]:
        """Return the directories of blobs."""
        return [self.root / name for name in _directories(self.root) if SHARD.fullmatch(name)]

    def days(self) -> list[tuple[date, Path]]:
        """Return the directories of blobs set aside, with their days, the oldest first."""
        found: list[tuple[date, Path]] = []
        for name in sorted(filter(DAY.fullmatch, self._aside_names())):
            with suppress(ValueError):
                found.append((date.fromisoformat(name), self._aside / name))
        return found

    def _aside_names(self) -> list[str]:
        try:
            descriptor = os.open(self._aside, OPEN_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            if error.errno == errno.ELOOP:  # a link, which is not followed
                return []
            raise
        try:
            return _directories(descriptor)
        finally:
            os.close(descriptor)

    def keys(self, directory: Path) -> list[str]:
        """Return the keys of the blobs in a directory."""
        return [name for name in _files(directory) if KEY.fullmatch(name)]

    def look(self, key: str) -> Found | None:
        """Return size, time and record of a blob, or None where there is none."""
        for path in self.places(key):
            with suppress(FileNotFoundError):
                status = path.lstat()
                if S_ISREG(status.st_mode):
                    written_at = datetime.fromtimestamp(status.st_mtime, UTC)
                    return Found(key, status.st_size, written_at, read_record(path))
        return None

    # Changes.

    def delete(self, key: str) -> None:
        """Remove a blob, wherever it is, and its record."""
        for path in self.places(key):
            with suppress(FileNotFoundError):
                path.unlink()
                _record_path(path).unlink(missing_ok=True)
                return

    def set_aside(self, key: str, day: date) -> None:
        """Move a blob and its record to the directory of a day."""
        directory = self._aside / day.isoformat()
        if self._aside.is_symlink():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        for made in (self._aside, directory):
            made.mkdir(PRIVATE_DIRECTORY, exist_ok=True)
        _move(self.path(key), directory)

    def restore(self, key: str) -> None:
        """Move a blob and its record back."""
        for _, directory in self.days():
            _move(directory / key, self.path(key).parent)

    def clean(self, *, dry_run: bool) -> int:
        """Remove the unfinished writes of processes that have ended; return their number."""
        remove = not dry_run
        alive = {name: self._is_alive(name, remove=remove) for name in self._writer_names()}
        count = 0
        for shard in self.shards():
            names = set(_files(shard))
            if remove:
                self._drop_lone_records(shard, names)
            for name in names:
                if (part := PART.fullmatch(name)) and self._is_leftover(shard / name, part, alive):
                    count += 1
                    if remove:
                        (shard / name).unlink(missing_ok=True)
        if remove:
            self._drop_empty_days()
        return count

    def _drop_lone_records(self, shard: Path, names: set[str]) -> None:
        """Remove old record files whose blobs were never published."""
        for name in names:
            key = name.removesuffix(RECORD_SUFFIX)
            lone = key != name and KEY.fullmatch(key) and key not in names
            if lone and _age(shard / name) > LONE_AGE_SECONDS:
                (shard / name).unlink(missing_ok=True)

    def _is_leftover(self, path: Path, part: re.Match[str], alive: dict[str, bool]) -> bool:
        if (writer := part["writer"]) is None:
            return _age(path) > LONE_AGE_SECONDS
        if not alive.get(writer, False):  # a process may have come since `alive` was made
            alive[writer] = self._is_alive(writer)
        return not alive[writer]

    def _writer_names(self) -> list[str]:
        try:
            return _files(self.writers)
        except FileNotFoundError:
            return []

    def _is_alive(self, writer: str, *, remove: bool = False) -> bool:
        """Return whether a process holds a lock; remove the file of a lock that none holds.

        The file is removed under the lock, so a process that takes the lock then sees no file.
        """
        path = self.writers / writer
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if remove:
                path.unlink(missing_ok=True)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def _drop_empty_days(self) -> None:
        for _, directory in self.days():
            with suppress(OSError):  # not empty
                directory.rmdir()

    # Identity.

    def identity(self) -> str | None:
        """Return the identity of the directory, or None where it has none."""
        self.verify()
        try:
            return (self.root / IDENTITY_NAME).read_text("ascii").strip() or None
        except (FileNotFoundError, UnicodeDecodeError):
            return None

    def set_identity(self, identity: str) -> None:
        """Write the identity durably."""
        path = self.root / IDENTITY_NAME
        written = path.with_name(f"{IDENTITY_NAME}.{os.getpid()}")
        with open(written, "w", opener=_private) as file:  # for the mode
            file.write(f"{identity}\n")
            file.flush()
            os.fsync(file.fileno())
        written.replace(path)
        sync_directory(self.root)


def write_record(descriptor: int, path: Path, record: bytes) -> None:
    """Keep a record beside a blob, durable with the blob's own `fsync`, or before it.

    Args:
        descriptor: The blob, open for writing.
        path: Future place of the blob.
        record: The record, up to 64 KiB.
    """
    if hasattr(os, "setxattr"):
        try:
            os.setxattr(descriptor, RECORD_ATTRIBUTE, record)
        except OSError as error:
            if error.errno not in NO_ATTRIBUTE:
                raise
        else:
            return
    with open(_record_path(path), "wb", opener=_private) as file:  # for the mode
        file.write(record)
        file.flush()
        os.fsync(file.fileno())


def read_record(path: Path) -> bytes | None:
    """Return the record of the blob at a path, or None where there is none."""
    if hasattr(os, "getxattr"):
        with suppress(OSError):
            return os.getxattr(path, RECORD_ATTRIBUTE, follow_symlinks=False)
    with suppress(OSError), _record_path(path).open("rb") as file:
        return file.read(MOST_RECORD_SIZE)
    return None


def remove_record(path: Path) -> None:
    """Remove the record file of the blob at a path, if there is one."""
    _record_path(path).unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _record_path(path: Path) -> Path:
    return path.with_name(path.name + RECORD_SUFFIX)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, PRIVATE_FILE)


def _move(path: Path, directory: Path) -> None:
    if path.exists():
        with suppress(FileNotFoundError):  # the record first: without its blob it is nothing
            _record_path(path).rename(_record_path(directory / path.name))
        with suppress(FileNotFoundError):
            path.rename(directory / path.name)


def _age(path: Path) -> float:
    """Return the seconds since the last write of a file; 0 where it is gone."""
    with suppress(FileNotFoundError):
        return datetime.now(UTC).timestamp() - path.lstat().st_mtime
    return 0.0


def _directories(directory: Path | int) -> list[str]:
    with os.scandir(directory) as entries:
        return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]


def _files(directory: Path) -> list[str]:
    """Return the names of the regular files in a directory that is none of a link."""
    descriptor = os.open(directory, OPEN_DIRECTORY)
    try:
        with os.scandir(descriptor) as entries:
            return [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    finally:
        os.close(descriptor)
