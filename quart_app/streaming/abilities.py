"""Server capabilities beyond ASGI, and the key under which an application finds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["SERVER_EXTENSION", "ZERO_COPY", "ServerAbilities"]

#: Key of the `ServerAbilities` in the `extensions` of an ASGI scope.
SERVER_EXTENSION = "quart_app.server"

#: Type of the message that makes the server send a range of a file itself. The extension that
#: announces support for this message has the same name (ASGI specification, "Extensions", "Zero
#: Copy Send").
ZERO_COPY = "http.response.zerocopysend"


@dataclass(frozen=True, slots=True)
class ServerAbilities:
    """Capabilities of the server of a request. The defaults describe a server that has none.

    Attributes:
        unsent: Returns the number of bytes that were written to the connection and that the client
            has not acknowledged.
        interim: Whether the server sends `http.response.interim` messages as interim responses
            (1xx).
        awaits_reading: Whether the client sent `Expect: 100-continue`. The server then sends `100
            Continue` when the application first calls `receive`.
        ended: Set when the client has half-closed the connection: it sends no more, but may still
            read.
        gone: Set when the client has disconnected. Data that it sent before may still be received.
    """

    unsent: Callable[[], int] | None = None
    interim: bool = False
    awaits_reading: bool = False
    ended: asyncio.Event | None = None
    gone: asyncio.Event | None = None

    def __deepcopy__(self, _: object) -> ServerAbilities:
        """Return this object: middleware copies scopes, and a copy has the same connection."""
        return self
