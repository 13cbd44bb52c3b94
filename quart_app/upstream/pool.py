"""Idle connections, kept between two exchanges."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from quart_app.protocol.addresses import Endpoint
    from quart_app.upstream.wire import Wire

__all__ = ["Destination", "Pool"]

#: Maximum number of idle connections, in total and per server.
MOST_IDLE = 32
MOST_IDLE_EACH = 8

#: Seconds after which an idle connection is closed. Servers close idle connections after 2 seconds
#: (gunicorn) or more, and a request on a connection that the server closes may fail.
IDLE_TIME = 1.5

#: Idle time in seconds after which the server is assumed to keep the connection open.
PROBATION = 0.02

#: An endpoint that the policy has admitted, and whether the connection uses TLS.
Destination: TypeAlias = "tuple[Endpoint, bool]"


class _Idle(NamedTuple):
    destination: Destination
    wire: Wire
    since: float


class Pool:
    """Keeps connections for the next request to the same destination; requests never wait.

    A pool belongs to one policy. The address of each connection was checked for the same host under
    the same policy. An idle connection needs no task. It closes itself when the peer closes it or
    when data arrives.
    """

    def __init__(self) -> None:
        self._idle: list[_Idle] = []  # the longest at rest first
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def take(self, destination: Destination, *, once_only: bool) -> Wire | None:
        """Return the most recently used connection, or None if a new one is needed.

        Args:
            destination: Destination of the connection.
            once_only: Whether the request cannot be sent again. Some servers close a connection
                without announcing it, so this request gets only a proven connection.
        """
        now = asyncio.get_running_loop().time()
        for idle in self._idle[::-1]:
            kept = idle.wire.reused or now - idle.since >= PROBATION
            if idle.destination == destination and (kept or not once_only):
                self._idle.remove(idle)
                if now - idle.since < IDLE_TIME and idle.wire.wake():
                    return idle.wire
                idle.wire.close()
        return None

    def give(self, destination: Destination, wire: Wire) -> None:
        """Return a connection to the pool after a complete exchange, or close the connection."""
        if self._closed or not wire.rest():
            wire.close()
            return
        loop = asyncio.get_running_loop()
        self._idle = [idle for idle in self._idle if not idle.wire.ended]
        same = [idle for idle in self._idle if idle.destination == destination]
        if len(same) >= MOST_IDLE_EACH or len(self._idle) >= MOST_IDLE:
            oldest = (same if len(same) >= MOST_IDLE_EACH else self._idle)[0]
            self._idle.remove(oldest)
            oldest.wire.close()
        self._idle.append(_Idle(destination, wire, loop.time()))
        if self._timer is None:
            self._timer = loop.call_later(IDLE_TIME, self._expire)

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        while self._idle and loop.time() - self._idle[0].since >= IDLE_TIME:
            self._idle.pop(0).wire.close()
        due = self._idle[0].since + IDLE_TIME if self._idle else None
        self._timer = None if due is None else loop.call_at(due, self._expire)

    def close(self) -> None:
        """Close all idle connections, and every connection that is returned later."""
        self._closed = True
        for idle in self._idle:
            idle.wire.close()
        self._idle.clear()
        if self._timer is not None:
            self._timer.cancel()
