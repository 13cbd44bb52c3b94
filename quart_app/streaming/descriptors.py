"""File descriptors: sharing between the event loop and threads, and shortage detection."""

from __future__ import annotations

import errno
import logging
import os
import resource
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from quart_app.logs import RareWarning

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "OUT_OF_DESCRIPTORS",
    "SharedDescriptor",
    "connections_end",
    "descriptors_short",
    "is_used",
]

#: Error numbers when the limit of this process, or of the system, on open files is reached.
OUT_OF_DESCRIPTORS = {errno.EMFILE, errno.ENFILE}

#: Share of all descriptors that is reserved for operations in progress: one in 16.
RESERVE_SHARE = 16

MIN_RESERVE = 16

MAX_RESERVE = 1024

WARN = RareWarning(logging.getLogger("quart_app.descriptors"), "descriptors are short")


class SharedDescriptor:
    """A descriptor that is closed when its owner has closed it and no user is left.

    The operating system reuses the number of a closed descriptor for the next file or socket. A
    thread that still used the number would send the bytes of one client to another client.

    Args:
        number: An open descriptor. This object takes ownership.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._lock = threading.Lock()
        self._users = 1  # the owner

    @contextmanager
    def used(self) -> Iterator[int]:
        """Keep the descriptor open while the block runs, and yield its number.

        Raises:
            OSError: The descriptor is closed (EBADF).
        """
        with self._lock:
            if not self._users:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            self._users += 1
        try:
            yield self._number
        finally:
            self._leave()

    def close(self) -> None:
        """Close the descriptor when no user is left. The owner calls this once."""
        self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                os.close(self._number)


def connections_end() -> int:
    """Return the descriptor number at which the server stops accepting connections.

    One half of the reserve is for connections whose requests are rejected. The other half is for
    operations in progress.
    """
    limit = _limit()
    return limit - _reserve(limit) // 2


def descriptors_short() -> bool:
    """Return whether only the reserve is left, and log this at a limited rate."""
    limit = _limit()
    return is_used(limit - _reserve(limit))


def is_used(most: int) -> bool:
    """Return whether all descriptors below a number are in use, and log this at a limited rate.

    The operating system assigns the lowest free number, so opening one descriptor is enough.
    """
    try:
        number = os.open("/", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in OUT_OF_DESCRIPTORS:
            raise
        WARN(cause=repr(error))
        return True
    os.close(number)
    if number >= most:
        WARN(in_use=number)
    return number >= most


def _limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _reserve(limit: int) -> int:
    return min(max(limit // RESERVE_SHARE, MIN_RESERVE), MAX_RESERVE)
