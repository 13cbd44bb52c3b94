"""Faults of a local disk: its errors translated, its files replaced under a running service."""

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

OWN_ERRORS: dict[int | None, type[StorageError]] = {
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
    """Translate what the block's calls to a local disk raise.

    Raises:
        NoSpace: It is full.
        StorageUnavailable: It does not answer, or takes no writes.
        StorageError: Anything else that is an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise OWN_ERRORS.get(error.errno, StorageError)() from error


class PinnedPath:
    """A path that must name the same file or directory for as long as the service runs.

    An open descriptor still works after its file was removed, moved or covered by a mount. What
    is written by it then is lost at the next start. The methods block for one system call.

    Args:
        path: The path; it is resolved at each call.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pinned: tuple[int, int] | None = None

    @property
    def pinned(self) -> bool:
        """Whether a call of `verify` has found a file."""
        return self._pinned is not None

    def verify(self) -> None:
        """Compare the file at the path with the one that the first call found there.

        Raises:
            OSError: It is another one or gone (`ESTALE`), or was never there (`ENOENT`).
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
