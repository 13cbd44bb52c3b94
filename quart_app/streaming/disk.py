"""Faults of a local disk: translation of errors, and detection of replaced files."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from quart_app.errors import NoSpace, StorageError, StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["PinnedPath", "disk_errors"]

ERRORS_BY_ERRNO: dict[int | None, type[StorageError]] = {
    errno.ENOSPC: NoSpace,
    errno.EDQUOT: NoSpace,
    errno.EFBIG: NoSpace,
    errno.EROFS: StorageUnavailable,
    errno.EACCES: StorageUnavailable,
    errno.EPERM: StorageUnavailable,
    errno.EIO: StorageUnavailable,
    errno.EMFILE: StorageUnavailable,
    errno.ENFILE: StorageUnavailable,
    errno.ENOENT: StorageUnavailable,
    errno.ENOTDIR: StorageUnavailable,
    errno.ESTALE: StorageUnavailable,
}


@contextmanager
def disk_errors() -> Iterator[None]:
    """Translate each `OSError` of the block into a storage error.

    Raises:
        NoSpace: The disk is full.
        StorageUnavailable: The disk fails, is missing or is not writable.
        StorageError: Any other `OSError` occurred.
    """
    try:
        yield
    except OSError as error:
        raise ERRORS_BY_ERRNO.get(error.errno, StorageError)() from error


class PinnedPath:
    """A path that must refer to the same file or directory while the service runs.

    An open descriptor still works after its file was removed, moved or hidden by a mount. Data
    written through the descriptor is then lost at the next start. Each method blocks for one system
    call at most.

    Args:
        path: The path. Each call resolves it again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pinned: tuple[int, int] | None = None

    @property
    def pinned(self) -> bool:
        """Whether a call of `verify` has found a file at the path."""
        return self._pinned is not None

    def verify(self) -> None:
        """Compare the file at the path with the file that the first call found.

        Raises:
            OSError: The file was replaced or removed (`ESTALE`), or never existed (`ENOENT`).
        """
        try:
            status = os.stat(self._path)  # noqa: PTH116  # half the time of Path.stat
        except FileNotFoundError:
            if self._pinned is None:
                raise
            found = None
        else:
            found = (status.st_dev, status.st_ino)
        if self._pinned is None:
            self._pinned = found
        if found != self._pinned:
            raise OSError(errno.ESTALE, "replaced under the running service", str(self._path))
