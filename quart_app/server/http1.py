"""HTTP/1.1 with interim answers, trailers and half-closed clients."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import h11
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol.events import InformationalResponse, Request, Response
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol, H11WSConnection

from quart_app.protocol.caching import NO_STORE
from quart_app.protocol.http1 import BulkConnection, reason_phrase
from quart_app.protocol.problems import PROBLEM_TYPE, status_problem
from quart_app.server.sendfile import FileBody, FileData
from quart_app.server.stream import Stream
from quart_app.server.websocket import WebSocket
from quart_app.streaming import descriptors_short

if TYPE_CHECKING:
    from hypercorn.protocol.events import Event

    from quart_app.server.stream import ConnectionState

__all__ = ["Http1"]


class _Turn:
    """What a request waits for that came before its predecessor was answered: it may never come.

    Args:
        never: Any of these ends the waiting with `_NeverError`.
    """

    def __init__(self, *never: asyncio.Event) -> None:
        self._never = never
        self._come = asyncio.Event()

    async def clear(self) -> None:
        self._come.clear()

    async def set(self) -> None:
        self._come.set()

    async def wait(self) -> None:
        waiting = [asyncio.ensure_future(event.wait()) for event in (self._come, *self._never)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        if any(event.is_set() for event in self._never):
            raise _NeverError


class _NeverError(Exception):
    pass


class Http1(H11Protocol):
    """Hypercorn's HTTP/1.1 protocol over a `BulkConnection`."""

    connection: BulkConnection

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ended = asyncio.Event()
        gone = cast("ConnectionState", self.connection_state).gone
        self.can_read = cast("Any", _Turn(self._ended, gone))
        self.connection = BulkConnection(
            h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size
        )

    @property
    def sending(self) -> bool:
        """Whether the client may be in the middle of something it sends."""
        # None is the state of a WebSocket.
        return self.connection.their_state in {h11.SEND_BODY, h11.ERROR, None}

    @property
    def in_body(self) -> bool:
        """Whether what comes next belongs to a body."""
        return self.connection.their_state is h11.SEND_BODY

    async def handle(self, event: Any) -> None:
        """Take what the connection says; one that is closed waits for no further request."""
        if isinstance(event, Closed):
            self._ended.set()
        with suppress(_NeverError):
            await super().handle(event)

    async def _create_stream(self, request: h11.Request) -> None:
        """Start the stream of a request, with its method as the client wrote it.

        Hypercorn puts methods into capitals: they are case-sensitive (RFC 9110, 9.1).
        """
        if (refusal := self._refusal(request)) is not None:
            await self._send_error_response(refusal)
            await self.send(Closed())
            return
        kind = WebSocket if _asks_for_websocket(request) else Stream
        where = (self.ssl, self.client, self.server, self.stream_send, STREAM_ID)
        self.stream = kind(self.app, self.config, self.context, self.task_group, *where)
        if isinstance(self.stream, Stream):
            self.connection.trailers = self.stream.trailers
        else:
            self.connection = cast("BulkConnection", H11WSConnection(self.connection))
        raw = self.config.h11_pass_raw_headers
        event = Request(
            stream_id=STREAM_ID,
            headers=request.headers.raw_items() if raw else list(request.headers),
            http_version=request.http_version.decode(),
            method=request.method.decode(),
            raw_path=request.target,
            state=self.connection_state,
        )
        await self.stream.handle(event)
        self.keep_alive_requests += 1
        await self.context.mark_request()
        if isinstance(self.stream, Stream) and self.stream.closed:  # without the application
            await self.send(Closed())

    async def _check_protocol(self, event: h11.Request) -> None:
        # Only who knows of HTTP/2 before gets it: proxies take an upgrade for a tunnel, and let
        # requests through that they would have refused.
        if event.method == b"PRI" and not list(event.headers):
            await super()._check_protocol(event)

    def _refusal(self, request: h11.Request) -> int | None:
        if not request.http_version.startswith(b"1."):
            return HTTPStatus.BAD_REQUEST
        names = {name for name, _ in request.headers}
        if {b"content-length", b"transfer-encoding"} <= names:
            # RFC 9112, 6.3: two framings are an attempt to smuggle, or as good as one.
            return HTTPStatus.BAD_REQUEST
        size = sum(len(name) + len(value) for name, value in request.headers)
        if size > self.config.h11_max_incomplete_size:
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        return None

    async def stream_send(self, event: Event) -> None:
        """Send what a stream gives, interim responses and parts of files included."""
        if isinstance(event, Response | InformationalResponse):
            await self._send_h11_event(self._head(event))
        elif isinstance(event, FileBody):
            data = h11.Data(data=cast("bytes", event.file))
            for part in self.connection.send_with_data_passthrough(data) or ():
                await self.send(RawData(part) if isinstance(part, bytes) else FileData(part))
        else:
            await super().stream_send(event)

    def _head(
        self, event: Response | InformationalResponse
    ) -> h11.Response | h11.InformationalResponse:
        """Return the head of a response; the last one on a connection announces its end."""
        status, headers = event.status_code, list(event.headers)
        if isinstance(event, InformationalResponse):
            return h11.InformationalResponse(
                status_code=status, headers=headers, reason=reason_phrase(status)
            )
        headers += self.config.response_headers("h11")
        kind = h11.Response if status >= HTTPStatus.OK else h11.InformationalResponse
        is_last = self.keep_alive_requests >= self.config.keep_alive_max_requests
        is_last |= self.context.terminated.is_set() or descriptors_short()
        if kind is h11.Response and is_last:
            headers.append((b"connection", b"close"))
        return kind(status_code=status, headers=headers, reason=reason_phrase(status))

    def end(self) -> Stream | None:
        """Note that the client has closed its sending side; it may still read its answer.

        Returns:
            The stream whose answer is under way, which closes the connection at its end; or None.
        """
        self._ended.set()
        if not isinstance(self.stream, Stream):
            return None
        self.stream.ended.set()
        if not self.stream.complete:
            self.stream.cut()
        return self.stream

    async def _maybe_recycle(self) -> None:
        # Hypercorn closes without a word where a stop comes into an answer that did not say
        # "Connection: close": the client's next request may be on its way.
        await self._close_stream()
        states = {self.connection.our_state, self.connection.their_state}
        goes_on = states == {h11.DONE} and not self._ended.is_set()
        if goes_on:
            self.connection.start_next_cycle()
        await self.can_read.set()
        await self.send(Updated(idle=True) if goes_on else Closed())

    async def _send_error_response(self, status_code: int) -> None:
        if status_code == HTTPStatus.NOT_IMPLEMENTED:
            # h11 says so of any coding but `chunked`; what does not end in that is no known length
            # and to be answered 400 (RFC 9112, 6.3).
            status_code = HTTPStatus.BAD_REQUEST
        body = status_problem(status_code)
        headers = [
            (b"content-type", PROBLEM_TYPE.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", NO_STORE.encode()),
            (b"connection", b"close"),
            *self.config.response_headers("h11"),
        ]
        reason = reason_phrase(status_code)
        await self._send_h11_event(
            h11.Response(status_code=status_code, headers=headers, reason=reason)
        )
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())


def _asks_for_websocket(request: h11.Request) -> bool:
    """Return whether a request asks for a WebSocket.

    A server ignores `Upgrade` in a request of HTTP/1.0 (RFC 9110, 7.8).
    """
    fields = {name: value.lower().strip() for name, value in request.headers}
    tokens = {token.strip() for token in fields.get(b"connection", b"").split(b",")}
    return (
        request.method == b"GET"
        and request.http_version != b"1.0"
        and b"upgrade" in tokens
        and fields.get(b"upgrade") == b"websocket"
    )
