"""HTTP/1.1 with bodies past the parser, interim answers, trailers and half-closed clients."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import h11
from h11._readers import ChunkedReader, ContentLengthReader
from hypercorn.events import Closed, RawData
from hypercorn.protocol.events import InformationalResponse, Response
from hypercorn.protocol.h11 import H11Protocol

from quart_app.protocol.problems import PROBLEM_TYPE, code_of, problem_json
from quart_app.server.sendfile import FileBody, FileData
from quart_app.server.stream import Stream

if TYPE_CHECKING:
    from hypercorn.protocol.events import Event

__all__ = ["BulkConnection", "Http1"]


class BulkConnection(h11.Connection):
    """An h11 connection that hands on the pieces of a body as they arrived.

    h11 copies every byte three times on its way through, which costs more than all the rest.

    Attributes:
        trailers: Trailers of the request, once it is complete.
    """

    _chunk: bytes | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.trailers: list[tuple[bytes, bytes]] = []

    @property
    def they_are_waiting_for_100_continue(self) -> bool:
        """Hide it from Hypercorn, which would answer before the application can refuse."""
        return False

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the network; all events are asked for before the next call."""
        left = self.body_left
        if data and left and not self.trailing_data[0]:
            self._chunk = data[:left]
            data = data[left:]
            if not data:
                return
        super().receive_data(data)

    @property
    def body_left(self) -> int:
        """The bytes to come that no parser needs to see: the rest of a body, or of a chunk."""
        # h11 has no door for this; tests guard it.
        reader = self._reader if self.their_state is h11.SEND_BODY else None
        if isinstance(reader, ContentLengthReader):
            return reader._remaining  # noqa: SLF001
        if isinstance(reader, ChunkedReader):
            return max(0, reader._bytes_in_chunk - 1)  # noqa: SLF001  # its end is the parser's
        return 0

    def next_event(self) -> Any:
        """Give the next event, a chunk that passed the parser by first."""
        if self._chunk is None:
            event = super().next_event()
            if isinstance(event, h11.EndOfMessage):
                self.trailers.extend(event.headers)
            return event
        chunk, self._chunk = self._chunk, None
        if isinstance(self._reader, ChunkedReader):
            self._reader._bytes_in_chunk -= len(chunk)  # noqa: SLF001
        else:
            cast("ContentLengthReader", self._reader)._remaining -= len(chunk)  # noqa: SLF001
        self.client_is_waiting_for_100_continue = False
        return h11.Data(data=chunk)


class Http1(H11Protocol):
    """Hypercorn's HTTP/1.1 protocol over a `BulkConnection`."""

    connection: BulkConnection
    _ended = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
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
        self._ended = self._ended or isinstance(event, Closed)
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
        if isinstance(event, Response) and self.context.terminated.is_set():
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

    def end(self) -> bool:
        """Take the client's end of the connection for closed; it may still read its answer.

        Returns:
            Whether an answer is under way; the connection closes itself after that.
        """
        self._ended = True
        if not isinstance(self.stream, Stream):
            return False
        if not self.stream.complete:
            self.stream.cut()
        return True

    async def _maybe_recycle(self) -> None:
        await super()._maybe_recycle()
        if self._ended:
            await self.send(Closed())

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
            (b"connection", b"close"),
            *self.config.response_headers("h11"),
        ]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())
