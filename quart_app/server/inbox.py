"""What waits for the application of one stream, bounded in bytes."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from quart_app.models import KIB

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypercorn.typing import ASGIReceiveEvent

__all__ = ["INBOX_SIZE", "Inbox"]

#: Bytes of a body that wait for the application before `put` does.
INBOX_SIZE = 128 * KIB


class Inbox:
    """Messages from the connection to the application.

    Hypercorn's own queue counts messages, not bytes, and makes the news that a stream has ended
    wait for an application that may read no more: a deadlock. Here only bodies wait, and nothing
    does once the application has returned.
    """

    def __init__(self) -> None:
        self._messages: deque[tuple[ASGIReceiveEvent, Callable[[], None] | None]] = deque()
        self._held = 0
        self._closed = False
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()

    async def put(self, message: ASGIReceiveEvent) -> None:
        """Hand a message over; a body waits while too much of it is unread."""
        self.push(message)
        while message["type"] == "http.request" and self._held >= INBOX_SIZE and not self._closed:
            self._room.clear()
            await self._room.wait()

    def push(self, message: ASGIReceiveEvent, taken: Callable[[], None] | None = None) -> None:
        """Hand a message over at once.

        Args:
            message: What the application receives.
            taken: Called once it was received or dropped; bounds what is handed over.
        """
        self._messages.append((message, taken))
        self._held += _size(message)
        self._arrived.set()
        if self._closed:
            self.close()

    async def get(self) -> ASGIReceiveEvent:
        """Give the next message."""
        while not self._messages:
            self._arrived.clear()
            await self._arrived.wait()
        return self._next()

    def _next(self) -> ASGIReceiveEvent:
        message, taken = self._messages.popleft()
        self._held -= _size(message)
        self._room.set()
        if taken is not None:
            taken()
        return message

    def close(self) -> None:
        """Drop everything, now and from now on: the application has returned."""
        self._closed = True
        while self._messages:
            self._next()
        self._room.set()


def _size(message: ASGIReceiveEvent) -> int:
    return len(cast("dict[str, Any]", message).get("body", b""))
