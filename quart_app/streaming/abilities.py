"""What a server may be able to do beyond ASGI, and where an application finds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["SERVER_EXTENSION", "ZERO_COPY", "ServerAbilities"]

#: Key of the `ServerAbilities` in an ASGI scope's extensions.
SERVER_EXTENSION = "quart_app.server"

#: Type of the message that has a server send a part of a file by itself, and name of the extension
#: that offers it (ASGI specification, "Extensions", "Zero Copy Send").
ZERO_COPY = "http.response.zerocopysend"


@dataclass(frozen=True, slots=True)
class ServerAbilities:
    """What the server of a request can do; a server that says nothing can do none of it.

    Attributes:
        unsent: Gives the bytes written to the connection that its client has not taken.
        interim: `http.response.interim` messages are sent as interim answers (1xx).
        awaits_reading: A client that sent `Expect: 100-continue` is told to go on when the
            application first receives.
        ended: Set once the client sends nothing more, though it may still read.
        gone: Set once the client is gone, though what it sent before may still be received.
    """

    unsent: Callable[[], int] | None = None
    interim: bool = False
    awaits_reading: bool = False
    ended: asyncio.Event | None = None
    gone: asyncio.Event | None = None

    def __deepcopy__(self, _: object) -> ServerAbilities:
        """Return itself: middleware copies scopes, and the copy is of the same connection."""
        return self
