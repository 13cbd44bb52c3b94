"""One request and its response on a connection, sent and received concurrently."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import h11

from quart_app.models import KIB
from quart_app.protocol.http1 import BulkConnection
from quart_app.streaming import settled
from quart_app.upstream.wire import Wire

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable

__all__ = ["Exchange"]

#: Maximum size of the header section of a response.
MAX_HEAD_SIZE = 64 * KIB

#: Chunks are joined up to this size in bytes, and up to this number of chunks.
SMALL_SIZE = 64 * KIB
MAX_JOINED = 256

#: Maximum number of interim responses (1xx) before the final response.
MAX_INTERIM = 64

#: Lowest response status after which the rest of the request body is not sent.
FIRST_REFUSAL = 400


class Exchange:
    """Sends a request and receives its response concurrently.

    A server may respond before it has read the request (with a 413, for example), or while it reads
    the request (a conversion). In both cases the response is passed on at once, and the request
    body is sent for as long as the server accepts it.

    Args:
        wire: The connection. An incomplete exchange closes it.
        keep: Receives the connection after a complete exchange, if it can be reused.
    """

    def __init__(self, wire: Wire, keep: Callable[[Wire], None]) -> None:
        self._keep = keep
        self._closed = False
        self._wire = wire
        self._http = BulkConnection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_SIZE)
        self._sender: asyncio.Task[None] | None = None
        self._refused = False
        self._ahead: Any = None

    async def start(self, request: h11.Request, body: AsyncIterable[bytes] | None) -> h11.Response:
        """Send a request, and return the response head as soon as it has arrived.

        Args:
            request: With `Content-Length` or `Transfer-Encoding` if it has a body.
            body: Its bytes, or None.

        Raises:
            TimeoutError: The server took or sent nothing for too long.
            OSError: The connection broke.
            h11.RemoteProtocolError: The response is not valid HTTP.
            BaseException: As `body` raises.
        """
        pieces = self._pieces(request)
        if body is None:
            pieces += self._pieces(h11.EndOfMessage())
        with suppress(ConnectionError):  # a response may still have arrived
            await self._wire.write(pieces)
        if body is not None:
            self._wire.be_patient(True)
            self._sender = asyncio.create_task(self._send(body))
        # Limits the total time of a response head that arrives byte by byte.
        async with asyncio.timeout(self._wire.timeout if body is None else None):
            return await self._head()

    async def _head(self) -> h11.Response:
        for _ in range(MAX_INTERIM):
            event = await self._event()
            if isinstance(event, h11.Response):
                self._refused = event.status_code >= FIRST_REFUSAL
                return event
            if not isinstance(event, h11.InformationalResponse):
                break
        raise h11.RemoteProtocolError("There is no answer.")

    def _pieces(self, event: h11.Event) -> list[bytes]:
        return list(self._http.send_with_data_passthrough(event) or ())

    async def _send(self, body: AsyncIterable[bytes]) -> None:
        try:
            async for chunk in body:
                await self._wire.write(self._pieces(h11.Data(data=chunk)))
            await self._wire.write(self._pieces(h11.EndOfMessage()))
        except ConnectionError:
            pass  # the reader receives the response, if one has arrived
        except Exception as error:  # raised in the reader of the response
            self._wire.fail(error)
        self._wire.be_patient(False)

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Yield the still encoded response body as it arrives. Raises as `start` does."""
        try:
            while isinstance(event := await self._event(), h11.Data):
                yield self._joined(event)
                await asyncio.sleep(0)
            if self._sender is not None and not self._refused:
                # A server that responds early may still read the rest of the request.
                await asyncio.wait([self._sender])
        finally:
            await self.close()

    def _joined(self, first: h11.Data) -> bytes:
        """Join small chunks that have already arrived. A server may send single bytes."""
        parts, size = [bytes(first.data)], len(first.data)
        while size < SMALL_SIZE and len(parts) < MAX_JOINED:
            try:
                self._ahead = self._http.next_event()
            except h11.RemoteProtocolError as error:
                self._ahead = error
            if not isinstance(self._ahead, h11.Data):
                break
            parts.append(bytes(self._ahead.data))
            size += len(self._ahead.data)
            self._ahead = None
        return b"".join(parts)

    async def _event(self) -> Any:
        event, self._ahead = self._ahead or self._http.next_event(), None
        while event is h11.NEED_DATA:
            self._http.receive_data(await self._wire.read())
            event = self._http.next_event()
        if isinstance(event, Exception):
            raise event
        return event

    async def close(self) -> None:
        """Release the connection, or abort the connection if the exchange is incomplete."""
        if not self._closed:
            self._closed = True
            release = self._keep if self._is_complete() else Wire.close
            release(self._wire)
        if self._sender is not None:
            self._sender.cancel()
            await settled(self._sender)

    def _is_complete(self) -> bool:
        if self._http.their_state is h11.SEND_BODY:
            with suppress(h11.RemoteProtocolError):
                self._http.next_event()  # the end of an answer without a body, which nobody reads
        sent = self._sender is None or self._sender.done()
        # h11 is done with neither side where one of them has said `Connection: close`.
        both = self._http.our_state is h11.DONE and self._http.their_state is h11.DONE
        return sent and both and self._http.trailing_data == (b"", False)
