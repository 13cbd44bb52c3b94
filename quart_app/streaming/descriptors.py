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

__all__ = ["OUT_OF_DESCRIPTORS", "SharedDescriptor", "descriptors_short", "reserve_begins"]

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


def reserve_begins() -> int:
    """Return the lowest number of a descriptor that is kept for what is under way.

    The system gives the lowest number that is free. So whoever is given this number or a higher
    one knows that all below are in use.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return limit - min(max(limit // RESERVE_SHARE, LEAST_RESERVE), MOST_RESERVE)


def descriptors_short(extra: int = 0) -> bool:
    """Tell whether only the reserve of descriptors is left, and log it now and then.

    Args:
        extra: How much of the reserve the caller may use too.
    """
    try:
        number = os.open("/", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in OUT_OF_DESCRIPTORS:
            raise
        WARN(cause=repr(error))
        return True
    os.close(number)
    if short := number >= reserve_begins() + extra:
        WARN(open=number)
    return short
