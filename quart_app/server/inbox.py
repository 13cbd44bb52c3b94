"""What waits for the application of one stream, bounded in bytes."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from quart_app.models import KIB
from quart_app.streaming import Backlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypercorn.typing import ASGIReceiveEvent

__all__ = ["INBOX_SIZE", "Inbox"]

#: Bytes of memory that wait for the application before `put` does.
INBOX_SIZE = 128 * KIB

#: Memory of a message beside its body.
MESSAGE_OVERHEAD = 1 * KIB

#: Smaller pieces of a body are put together while they wait: a client may send its body byte by
#: byte.
MERGE_SIZE = 64 * KIB

#: Messages after which the loop gets its turn: chunks of a byte come by the ten thousand at once.
TURN_MESSAGES = 256


class Inbox:
    """Messages from the connection to the application.

    Hypercorn's own queue counts messages, not bytes, and makes the news that a stream has ended
    wait for an application that may read no more: a deadlock. Here only bodies wait, and nothing
    does once the application has returned.

    Attributes:
        taken: Called with the credit of what was received or dropped.
    """

    def __init__(self) -> None:
        self.taken: Callable[[int], None] | None = None
        self._messages: Backlog[dict[str, Any]] = Backlog(INBOX_SIZE, MESSAGE_OVERHEAD, _body_size)
        self._credits: deque[int] = deque()
        self._closed = False
        self._turn = 0
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()

    def __len__(self) -> int:
        return len(self._messages)

    async def put(self, message: ASGIReceiveEvent) -> None:
        """Hand a message over; a body waits while too much of it is unread."""
        self.push(message)
        self._turn = (self._turn + 1) % TURN_MESSAGES
        if not self._turn:
            await asyncio.sleep(0)
        while message["type"] == "http.request" and self._messages.full and not self._closed:
            self._room.clear()
            await self._room.wait()

    def push(self, message: ASGIReceiveEvent, credit: int = 0) -> None:
        """Hand a message over at once.

        Args:
            message: What the application receives.
            credit: What `taken` is told of it later; bounds what is handed over.
        """
        added = cast("dict[str, Any]", message)
        last = self._messages.last or {}
        if added.get("more_body") and last.get("more_body") and len(last["body"]) < MERGE_SIZE:
            if not isinstance(last["body"], bytearray):
                last["body"] = bytearray(last["body"])
            last["body"] += added["body"]
            self._messages.grow(len(added["body"]))
            self._credits[-1] += credit
        else:
            self._messages.push(added)
            self._credits.append(credit)
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
        message, credit = self._messages.pop(), self._credits.popleft()
        if "body" in message:
            message["body"] = bytes(message["body"])
        self._room.set()
        if self.taken is not None and credit:
            self.taken(credit)
        return cast("ASGIReceiveEvent", message)

    def close(self) -> None:
        """Drop everything, now and from now on: the application has returned."""
        self._closed = True
        while self._messages:
            self._next()
        self._room.set()


def _body_size(message: dict[str, Any]) -> int:
    return len(message.get("body", b""))
