"""Descriptors: shared by the loop and a thread, and counted where they run short."""

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

#: What the system says where this process, or all together, can open nothing more.
OUT_OF_DESCRIPTORS = {errno.EMFILE, errno.ENFILE}

#: One descriptor of so many is kept for what is under way already.
RESERVE_SHARE = 16

LEAST_RESERVE = 16

MOST_RESERVE = 1024

WARN = RareWarning(logging.getLogger("quart_app.descriptors"), "descriptors are short")


class SharedDescriptor:
    """A descriptor that is closed once its owner has closed it and nobody uses it any more.

    The number of a closed descriptor is given to the next file or socket that is opened. A thread
    that still used the number would send one client's bytes to another.

    Args:
        number: An open descriptor, which belongs to this object from now on.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._lock = threading.Lock()
        self._users = 1  # the owner

    @contextmanager
    def used(self) -> Iterator[int]:
        """Keep the descriptor open while the block runs; the block gets its number.

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
        """Close the descriptor as soon as nobody uses it; to be called once, by the owner."""
        self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                os.close(self._number)


def connections_end() -> int:
    """Return the number of a descriptor from which on no connection is accepted.

    Half of the reserve is for connections whose requests are refused, the other half for what is
    under way.
    """
    limit = _limit()
    return limit - _reserve(limit) // 2


def descriptors_short() -> bool:
    """Tell whether only the reserve is left for new work; logged now and then."""
    limit = _limit()
    return is_used(limit - _reserve(limit))


def is_used(most: int) -> bool:
    """Tell whether all descriptors below a number are in use; logged now and then.

    The system gives the lowest number that is free, so it takes one descriptor to know.
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
    return min(max(limit // RESERVE_SHARE, LEAST_RESERVE), MOST_RESERVE)
