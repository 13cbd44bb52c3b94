"""Space held back, so that a full disk can still be emptied: removing a row takes some first."""

from __future__ import annotations

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

    Args:
        path: Its place, on the file system of the database.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held = False

    def hold(self) -> None:
        """Take the space, unless it is held or there is none."""
        if self._held:
            return
        with suppress(OSError):
            descriptor = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o640)
            try:
                if os.fstat(descriptor).st_size < RESERVE_SIZE:
                    os.write(descriptor, bytes(RESERVE_SIZE))
                self._held = os.fstat(descriptor).st_size == RESERVE_SIZE
            finally:
                os.close(descriptor)

    def release(self) -> bool:
        """Give the space up; tells whether there was any."""
        self._held = False
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
