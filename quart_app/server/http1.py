"""HTTP/1.1 with interim answers, trailers and half-closed clients."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import h11
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol.events import InformationalResponse, Response
from hypercorn.protocol.h11 import H11Protocol

from quart_app.protocol.caching import NO_STORE
from quart_app.protocol.http1 import BulkConnection
from quart_app.protocol.problems import PROBLEM_TYPE, code_of, problem_json
from quart_app.server.sendfile import FileBody, FileData
from quart_app.server.stream import Stream
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
        """Whether the client is, for all that is known, in the middle of something it sends."""
        return self.connection.their_state in {h11.SEND_BODY, h11.ERROR}

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
        if (refusal := self._refusal(request)) is not None:
            await self._send_error_response(refusal)
            await self.send(Closed())
            return
        await super()._create_stream(request)
        if isinstance(self.stream, Stream):
            self.connection.trailers = self.stream.trailers
        if self.stream is not None and self.stream.closed:  # refused without the application
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
        """Send what a stream says, interim answers included."""
        if isinstance(event, Response) and (
            self.context.terminated.is_set() or descriptors_short()
        ):
            event = replace(event, headers=[*event.headers, (b"connection", b"close")])
        if isinstance(event, FileBody):
            data = h11.Data(data=cast("bytes", event.file))
            for part in self.connection.send_with_data_passthrough(data) or ():
                await self.send(RawData(part) if isinstance(part, bytes) else FileData(part))
        elif isinstance(event, InformationalResponse):
            await self._send_h11_event(
                h11.InformationalResponse(headers=event.headers, status_code=event.status_code)
            )
        else:
            await super().stream_send(event)

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
        phrase = HTTPStatus(status_code).phrase
        body = problem_json(status_code, code_of(phrase), phrase)
        headers = [
            (b"content-type", PROBLEM_TYPE.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", NO_STORE.encode()),
            (b"connection", b"close"),
            *self.config.response_headers("h11"),
        ]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())
