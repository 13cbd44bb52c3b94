"""A timer for readers that stop, blind to how long a whole response takes."""

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

#: How often a wait is looked at, in parts of the timeout: a stall is seen up to this much late.
LOOKS = 4


class StallTimer:
    """Fails its block when one wait inside `during` lasts too long without progress.

    One timer serves the whole response: a wait costs two assignments, not a task or a timer.
    A slow reader may need more than the timeout for one large piece, so where the server tells
    how much is unsent, any byte taken counts as progress.

    Args:
        timeout: Longest wait without progress in seconds, or None for no limit.
        unsent: Bytes written but not taken yet, or None where the server cannot tell.

    Raises:
        ClientStalled: From the block, when a wait lasted too long.
    """

    def __init__(self, timeout: float | None, unsent: Callable[[], int] | None = None) -> None:
        self._seconds = timeout
        self._unsent = unsent
        self._waiting_since: float | None = None
        self._last_unsent = -1
        self._loop = asyncio.get_running_loop()
        self._block = asyncio.timeout(None)
        self._look_handle: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> StallTimer:
        await self._block.__aenter__()
        self._look_later()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._look_handle is not None:
            self._look_handle.cancel()
        try:
            await self._block.__aexit__(exc_type, exc, traceback)
        except TimeoutError:
            raise ClientStalled(f"Nothing was taken for {self._seconds:g} seconds.") from None

    async def during(self, wait: Awaitable[Any]) -> None:
        """Await something that takes as long as the client lets it."""
        self._waiting_since = self._loop.time()
        await wait
        self._waiting_since = None

    def _look_later(self) -> None:
        if self._seconds is not None:
            self._look_handle = self._loop.call_later(self._seconds / LOOKS, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        if self._unsent is not None and (unsent := self._unsent()) != self._last_unsent:
            self._last_unsent = unsent
            if self._waiting_since is not None:
                self._waiting_since = now
        if self._waiting_since is not None and now - self._waiting_since >= (self._seconds or 0):
            self._block.reschedule(now)
        else:
            self._look_later()


def unacknowledged(socket: socket | None) -> int:
    """Give the bytes in a socket's send queue that the other side has not acknowledged.

    Args:
        socket: Connected; one that is closed, or None, has none, and so has any but Linux's.
    """
    if sys.platform != "linux" or socket is None:
        return 0
    try:
        # SIOCOUTQ has the number of the terminal's call (tcp(7)).
        answer = fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
    except (OSError, ValueError):  # closed meanwhile
        return 0
    return cast("int", struct.unpack("i", answer)[0])
