"""A timer that detects stalled clients, independent of the duration of the whole response."""

from __future__ import annotations

import asyncio
import fcntl
import struct
import sys
import termios
from typing import TYPE_CHECKING, Any, cast

from quart_app.errors import ClientStalled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from socket import socket
    from types import TracebackType

__all__ = ["StallTimer", "unacknowledged"]

#: Progress checks per time-out. A stall is detected at most one check interval late.
CHECKS_PER_TIMEOUT = 4


class StallTimer:
    """Raises an error in its block if a wait in `during` lasts too long without progress.

    One timer serves the whole response, so a wait costs two assignments, not a task or a timer. A
    slow client may need more than the time-out for one large piece. If `unsent` is available, every
    acknowledged byte therefore counts as progress.

    Args:
        timeout: Maximum wait without progress in seconds, or None for no limit.
        unsent: Returns the number of bytes written and not acknowledged. None if the server does
            not support this.

    Raises:
        ClientStalled: From the block, if a wait lasted too long.
    """

    def __init__(self, timeout: float | None, unsent: Callable[[], int] | None = None) -> None:
        self._seconds = timeout
        self._unsent = unsent
        self._waiting_since: float | None = None
        self._last_unsent = -1
        self._loop = asyncio.get_running_loop()
        self._block = asyncio.timeout(None)
        self._check_handle: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> StallTimer:
        await self._block.__aenter__()
        self._schedule_check()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._check_handle is not None:
            self._check_handle.cancel()
        try:
            await self._block.__aexit__(exc_type, exc, traceback)
        except TimeoutError:
            raise ClientStalled(f"Nothing was taken for {self._seconds:g} seconds.") from None

    async def during(self, wait: Awaitable[Any]) -> None:
        """Await an operation whose duration depends on the client."""
        self._waiting_since = self._loop.time()
        await wait
        self._waiting_since = None

    def _schedule_check(self) -> None:
        if self._seconds is not None:
            self._check_handle = self._loop.call_later(
                self._seconds / CHECKS_PER_TIMEOUT, self._check
            )

    def _check(self) -> None:
        now = self._loop.time()
        if self._unsent is not None and (unsent := self._unsent()) != self._last_unsent:
            self._last_unsent = unsent
            if self._waiting_since is not None:
                self._waiting_since = now
        if self._waiting_since is not None and now - self._waiting_since >= (self._seconds or 0):
            self._block.reschedule(now)
        else:
            self._schedule_check()


def unacknowledged(socket: socket | None) -> int:
    """Return the number of bytes in a socket's send queue that the peer has not acknowledged.

    Args:
        socket: A connected socket. For a closed socket, for None, and on systems other than Linux
            the result is 0.
    """
    if sys.platform != "linux" or socket is None:
        return 0
    try:
        # SIOCOUTQ has the same number as TIOCOUTQ (tcp(7)).
        answer = fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
    except (OSError, ValueError):  # the socket was closed
        return 0
    return cast("int", struct.unpack("i", answer)[0])
