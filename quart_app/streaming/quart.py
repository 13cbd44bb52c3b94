"""Streaming for Quart applications: `stream_bodies`, and the connection and request classes."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from quart.asgi import ASGIHTTPConnection
from quart.utils import encode_headers
from quart.wrappers import Request
from quart.wrappers.response import DataBody, IterableBody
from werkzeug.exceptions import BadHost
from werkzeug.wrappers import Response as WerkzeugResponse

from quart_app.errors import BadRequest, BodyError, BodyTooShort, ClientDisconnected, UpstreamFailed
from quart_app.models import MIB, ByteRange
from quart_app.protocol.redaction import log_path, log_text
from quart_app.streaming.abilities import SERVER_EXTENSION, ZERO_COPY, ServerAbilities
from quart_app.streaming.body import RequestBody
from quart_app.streaming.files import FileRange, read_range
from quart_app.streaming.forms import form_parts
from quart_app.streaming.problems import answer_body_error, problem
from quart_app.streaming.stall import StallTimer
from quart_app.streaming.threads import settled

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

    from hypercorn.typing import (
        ASGIReceiveCallable,
        ASGISendCallable,
        HTTPDisconnectEvent,
        HTTPResponseBodyEvent,
        HTTPResponseStartEvent,
    )
    from quart import Quart
    from quart.typing import ResponseTypes

    from quart_app.protocol.multipart import FormLimits
    from quart_app.streaming.forms import Part

__all__ = ["SEND_SIZE", "StreamingConnection", "StreamingRequest", "stream_bodies"]

ACCESS_LOG = logging.getLogger("quart_app.access")

#: Maximum size of one message to the server. The stall timer covers each message.
SEND_SIZE = 1 * MIB

#: Maximum size of one zero-copy message. Its bytes use no memory.
FILE_SEND_SIZE = 8 * MIB

#: Seconds without sent bytes after which a half-closed client counts as disconnected; see
#: `StreamingRequest.end_with_client`.
END_PATIENCE = 5.0

#: Errors that may end a response early and that are not errors of the application.
EXPECTED = (BodyError, UpstreamFailed)

#: Settings in `app.config`, with their defaults.
DEFAULTS = {
    "STALL_TIMEOUT": 60.0,  # seconds without a byte, in either direction
    "DISCARD_SIZE": 256 * MIB,  # bytes of a body received and dropped after an early answer
    "DISCARD_TIMEOUT": 30.0,  # seconds for the same
    "DISCONNECT_GRACE": 30.0,  # seconds for a handler to end once its client is gone
}


def stream_bodies(app: Quart) -> None:
    """Make an application take and send bodies of any size with flat memory.

    Handlers then read `request.body` with backpressure, walk a form with `request.parts()`, and
    return responses without Quart's 60-second limit. `app.config` holds the bounds (`DEFAULTS`);
    `MAX_CONTENT_LENGTH` counts the bytes that stream, not only the declared length. Errors of the
    body are Werkzeug's too, and are answered as problem+json unless the application handles
    either of the two. A `request_class` of the application's own is combined with
    `StreamingRequest`, whether it is set before this call or after.

    Raises:
        TypeError: The application has a connection class or a body class of its own.
    """
    if not issubclass(StreamingConnection, app.asgi_http_class):
        raise TypeError(f"{app.asgi_http_class.__qualname__} is no base of StreamingConnection")
    app.request_class = streaming_class(app.request_class)
    app.asgi_http_class = StreamingConnection
    for name, value in DEFAULTS.items():
        app.config.setdefault(name, value)
    app.config["BODY_TIMEOUT"] = None
    app.config["RESPONSE_TIMEOUT"] = None
    app.error_handler_spec[None][None].setdefault(BodyError, answer_body_error)


@cache
def streaming_class(own: type[Request]) -> type[StreamingRequest]:
    """Combine a request class of an application with `StreamingRequest`.

    Args:
        own: The class of the application, whose attributes take precedence.

    Raises:
        TypeError: `own` is no class of Quart requests, or has a body class of its own.
    """
    if not issubclass(own, Request):
        raise TypeError(f"request_class {own.__qualname__} is not derived from quart.Request")
    if own.body_class is not Request.body_class and not issubclass(own.body_class, RequestBody):
        raise TypeError(
            f"body_class of {own.__qualname__} is not derived from quart_app.streaming.RequestBody"
        )
    if issubclass(own, StreamingRequest):
        return own
    if issubclass(StreamingRequest, own):
        return StreamingRequest
    bases: tuple[type, ...] = (own, StreamingRequest)
    body_class = own.body_class if issubclass(own.body_class, RequestBody) else RequestBody
    members = {"body_class": body_class, "__module__": own.__module__, "__doc__": own.__doc__}
    return cast("type[StreamingRequest]", type(own.__name__, bases, members))


class _Method(str):
    """A method as the client wrote it: methods are case-sensitive (RFC 9110, 9.1).

    Werkzeug puts methods into capitals, and would answer `delete` as `DELETE`.
    """

    __slots__ = ()

    def upper(self) -> str:
        """Return the method unchanged."""
        return self


class StreamingRequest(Request):
    """A request whose body is a bounded stream.

    Attributes:
        body: The `RequestBody`.
        resources: Closed when the request is over, on every path out; whatever a response still
            needs while it is sent (an open file, say) is entered here.
    """

    body_class = RequestBody
    body: RequestBody
    connection: StreamingConnection | None = None

    def __init__(self, method: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(_Method(method), *args, **kwargs)
        self.resources = AsyncExitStack()

    def end_when_gone(self) -> None:
        """Cancel the handler as soon as its client has disconnected.

        Use this in handlers that need no data after a disconnect. Otherwise the handler must read
        the queued body before it detects the disconnect. A half-close is not a disconnect.
        """
        handler, connection = asyncio.current_task(), self.connection
        if handler is None or connection is None:
            return
        if (gone := connection.server.gone) is not None:
            watching = _cancel_when_gone(gone, connection, handler)
            self.resources.callback(asyncio.create_task(watching).cancel)

    def end_with_client(self) -> None:
        """Cancel the handler when its client has probably disconnected.

        A closed connection cannot be distinguished from a half-closed connection until the server
        sends data. A half-closed client to which no bytes are sent for `END_PATIENCE` seconds
        therefore counts as disconnected.
        """
        handler, connection = asyncio.current_task(), self.connection
        if handler is None or connection is None:
            return
        if (ended := connection.server.ended) is not None:
            watching = _cancel_when_idle(ended, connection, handler)
            self.resources.callback(asyncio.create_task(watching).cancel)

    def parts(self, limits: FormLimits | None = None) -> AsyncIterator[Part]:
        """Walk the parts of a `multipart/form-data` body as they arrive.

        Args:
            limits: Bounds on parts, headers and fields.

        Raises:
            BadForm: Not a form, malformed, truncated, or followed by more parts.
            FormTooComplex: It passes a bound.
            BodyError: As iterating the body does.
        """
        return form_parts(self.body, self.headers.get("Content-Type", ""), limits)


class StreamingConnection(ASGIHTTPConnection):
    """One HTTP request of an ASGI server, with backpressure both ways.

    Stock Quart receives into one growing buffer beside the handler, cuts responses after a
    minute, and leaves its two tasks running when cancelled itself. Here the receiving side waits
    for the handler; it goes on after an early answer, discarding; and nothing outlives the call
    but, for a moment, the receiving of a connection about to close.
    """

    _closing: set[asyncio.Task[None]] = set()  # noqa: RUF012  # tasks need a strong reference
    request: StreamingRequest

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Handle the request. Return when the handler has ended and the resources are closed."""
        started = time.perf_counter()
        self.status: int | None = None
        self.sent = 0
        self.answered = False
        self.server = self._abilities()
        # The application may have set its class after the call of `stream_bodies`.
        self.app.request_class = streaming_class(self.app.request_class)
        self.request = cast("StreamingRequest", self._create_request_from_scope(send))
        self.request.connection = self
        self.request.body.stall_timeout = self.app.config["STALL_TIMEOUT"]
        receiver = asyncio.ensure_future(self.handle_messages(self.request, receive))
        handler = asyncio.ensure_future(self.handle_request(self.request, send))
        try:
            await self._until_over(receiver, handler)
        finally:
            handler.cancel()
            try:
                await settled(handler)
            finally:
                self._let_go(receiver)
                await self.request.resources.aclose()
                self._log(time.perf_counter() - started)
        # What a client does to its own body or answer is no news, and what another server does has
        # been logged; the server ends the connection of an answer that was not completed.
        if not handler.cancelled() and not isinstance(handler.exception(), EXPECTED):
            handler.result()

    async def _until_over(
        self, receiver: asyncio.Future[None], handler: asyncio.Future[None]
    ) -> None:
        await asyncio.wait({receiver, handler}, return_when=asyncio.FIRST_COMPLETED)
        if handler.done():
            return
        receiver.result()
        # The stream is closed. After an answer that is only good order; else the client is gone:
        # a handler whose body was cut learns it there and may keep what came, any other has
        # nobody left to work for.
        if self.answered:
            await asyncio.wait({handler})
        elif self.request.body.failed:
            await asyncio.wait({handler}, timeout=self.app.config["DISCONNECT_GRACE"])

    def _let_go(self, receiver: asyncio.Task[None]) -> None:
        """Keep receiving until the server sends `http.disconnect`.

        Hypercorn waits without a time-out to queue this message. If its queue is full and nothing
        receives, both tasks of Hypercorn wait for ever.
        """
        self.request.body.abandon()
        if not receiver.done():
            self._closing.add(receiver)
            patience = asyncio.get_running_loop().call_later(
                self.app.config["DISCARD_TIMEOUT"], receiver.cancel
            )
            receiver.add_done_callback(lambda _: patience.cancel())
            receiver.add_done_callback(self._closing.discard)

    async def handle_messages(self, request: Request, receive: ASGIReceiveCallable) -> None:
        """Pass received messages to the request body, with backpressure from the handler."""
        body = cast("RequestBody", request.body)
        if self.server.awaits_reading:
            await body.wanted.wait()  # receiving is what tells the client to send
        while True:
            message = await receive()
            if message["type"] == "http.request":
                await body.put(message.get("body", b""))
                if not message.get("more_body", False):
                    body.trailers = cast("dict[str, Any]", message).get("trailers", [])
                    body.set_complete()
            elif message["type"] == "http.disconnect":
                body.fail(_ending(message))
                return

    async def handle_request(self, request: Request, send: ASGISendCallable) -> None:
        """Handle the request. Respond with 400 if no route can be bound to the host."""
        try:
            await super().handle_request(request, send)
        except BadHost:
            await self._send_response(send, problem(BadRequest("The host is malformed.")))

    async def _send_response(self, send: ASGISendCallable, response: ResponseTypes) -> None:
        body, config = self.request.body, self.app.config
        if body.cut:
            return
        self.status = response.status_code
        async with StallTimer(config["STALL_TIMEOUT"], self.server.unsent) as timer:
            start: HTTPResponseStartEvent = {
                "type": "http.response.start",
                "status": response.status_code,
                "headers": encode_headers(response.headers),
            }
            await timer.during(send(start))
            async with _opened(response) as chunks:
                if self._has_content(response, chunks):
                    await self._send_chunks(send, chunks, timer)
            if self.server.awaits_reading and not body.wanted.is_set():
                body.abandon()  # nothing was asked for, nothing comes
            else:
                # The answer is out, all but its end; a server may close the connection after that.
                await body.discard(config["DISCARD_SIZE"], config["DISCARD_TIMEOUT"])
            self.answered = True
            await timer.during(send(_body_event(b"", more=False)))

    async def _send_chunks(
        self, send: ASGISendCallable, chunks: AsyncIterable[Any], timer: StallTimer
    ) -> None:
        async for chunk in chunks:
            if isinstance(chunk, FileRange):
                await self._send_file(send, chunk, timer)
                continue
            data = chunk.encode() if isinstance(chunk, str) else chunk
            for start in range(0, len(data), SEND_SIZE):
                piece = data if len(data) <= SEND_SIZE else data[start : start + SEND_SIZE]
                await timer.during(send(_body_event(piece, more=True)))
                self.sent += len(piece) * (self.scope["method"] != "HEAD")
                # Once the client is gone a server may take anything at once, and then a generator
                # that never waits would never let go of the loop.
                await asyncio.sleep(0)

    async def _send_file(self, send: ASGISendCallable, file: FileRange, timer: StallTimer) -> None:
        if ZERO_COPY not in (self.scope.get("extensions") or {}):
            async with aclosing(read_range(file.descriptor, file.wanted)) as chunks:
                await self._send_chunks(send, chunks, timer)
            return
        for start in range(file.wanted.start, file.wanted.stop, FILE_SEND_SIZE):
            part = ByteRange(start, min(start + FILE_SEND_SIZE, file.wanted.stop))
            message = _file_event(file.descriptor, part)
            try:
                await timer.during(send(message))
            finally:
                self.sent += message.get("sent", part.size)

    def _has_content(self, response: ResponseTypes, chunks: AsyncIterable[Any]) -> bool:
        # Servers drop the content of an answer to HEAD. Content that is in memory is sent all the
        # same, as by stock Quart, whose test client shows it; other content is not even read.
        is_read = self.scope["method"] != "HEAD" or isinstance(chunks, DataBody)
        return is_read and response.status_code not in {204, 304}

    def _abilities(self) -> ServerAbilities:
        extensions: dict[str, Any] = self.scope.get("extensions") or {}
        return cast("ServerAbilities", extensions.get(SERVER_EXTENSION, ServerAbilities()))

    def _log(self, duration: float) -> None:
        ACCESS_LOG.info(
            "request",
            extra={
                "method": log_text(self.scope["method"]),
                "path": log_path(self.scope.get("raw_path") or self.scope["path"]),
                "status": self.status,
                "received": self.request.body.received,
                "sent": self.sent,
                "seconds": round(duration, 6),
                "client": (self.scope.get("client") or ["-"])[0],
            },
        )


async def _cancel_when_idle(
    ended: asyncio.Event, connection: StreamingConnection, handler: asyncio.Task[Any]
) -> None:
    await ended.wait()
    sent = -1
    while sent != connection.sent:
        sent = connection.sent
        await asyncio.sleep(END_PATIENCE)
    handler.cancel()


async def _cancel_when_gone(
    gone: asyncio.Event, connection: StreamingConnection, handler: asyncio.Task[Any]
) -> None:
    await gone.wait()
    if not connection.answered:
        handler.cancel()


def _ending(message: HTTPDisconnectEvent) -> BodyError:
    if message.get("half_closed"):  # it sends no more, but may still read
        return BodyTooShort("The client ended the connection inside the body.")
    return ClientDisconnected()


def _body_event(data: bytes, *, more: bool) -> HTTPResponseBodyEvent:
    return {"type": "http.response.body", "body": data, "more_body": more}


def _file_event(descriptor: int, part: ByteRange) -> Any:
    message = {"type": ZERO_COPY, "file": descriptor, "offset": part.start, "count": part.size}
    return message | {"more_body": True}


@asynccontextmanager
async def _opened(response: ResponseTypes) -> AsyncIterator[AsyncIterable[Any]]:
    if isinstance(response, WerkzeugResponse):  # what `abort()` makes: a short list
        yield IterableBody(response.response)
    else:
        async with response.response as chunks:
            yield chunks
