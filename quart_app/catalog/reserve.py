"""Space held back, so that a full disk can still be emptied: removing a row takes some first."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from quart_app.models import MIB

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Reserve"]

#: Room for the pages of a few transactions and the database's own auxiliary files.
RESERVE_SIZE = 1 * MIB


class Reserve:
    """A file that only takes space, to be given up when there is no other; its calls block.

    Only a removal gives the space up. Until it is held again, no row is added, and uploads leave
    more space free than the reserve takes, so no upload can use it.

    Args:
        path: Its place, on the file system of the database.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def hold(self) -> bool:
        """Take the space, unless it is held or there is none; return whether it is held."""
        try:
            if self._path.stat().st_size >= RESERVE_SIZE:
                return True
        except FileNotFoundError:
            pass
        status = os.statvfs(self._path.parent)
        if status.f_bavail * status.f_frsize < RESERVE_SIZE:
            return False
        with suppress(OSError):
            self._fill()
            return True
        self.release()
        return False

    def _fill(self) -> None:
        descriptor = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o640)
        try:
            if os.write(descriptor, bytes(RESERVE_SIZE)) < RESERVE_SIZE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)

    def release(self) -> bool:
        """Give the space up; return whether there was any."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
