"""HTTP/2 with windows for bulk, streams that do not wait for each other, and honest ends."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from h2.connection import ConnectionState as H2State
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol.events import Body, EndBody, StreamClosed
from hypercorn.protocol.h2 import BUFFER_LOW_WATER, H2Protocol, StreamBuffer
from hypercorn.protocol.http_stream import ASGIHTTPState
from hypercorn.protocol.ws_stream import WSStream
from priority.priority import MissingStreamError

from quart_app.models import KIB, MIB
from quart_app.server.http2_connection import Http2Connection
from quart_app.server.http2_frames import Budget
from quart_app.server.stream import Stream
from quart_app.server.websocket import WebSocket

if TYPE_CHECKING:
    from h2.events import Event as H2Event
    from hypercorn.events import Event as IOEvent
    from hypercorn.protocol.events import Event
    from hypercorn.protocol.http_stream import HTTPStream
    from hypercorn.typing import ASGIReceiveEvent

    from quart_app.server.stream import ConnectionState

__all__ = ["FRAME_SIZE", "STREAM_WINDOW", "Buffer", "Http2"]

#: Bytes that a client may send ahead of the application on one stream. With what the request's
#: body and a write under way hold, a stream stays under 4 MiB.
STREAM_WINDOW = 1 * MIB

#: Bytes read from which a window is opened again: rarely enough, and long before it is used up.
CREDIT_SIZE = 128 * KIB

#: Number of the stream that stands for the whole connection (RFC 9113, 5.1.1).
CONNECTION = 0

#: Bytes dropped of the rest of a request that was answered, before its stream is reset.
UNWANTED_SIZE = 8 * MIB

#: Streams of a connection that end by RST_STREAM before their answer does, whichever end sends it
#: (CVE-2023-44487, CVE-2025-8671): a page that is left may cancel all of its streams at once.
RESETS = 200
RESETS_PER_SECOND = 30

#: Idle frames that an answer pays for: some clients send WINDOW_UPDATE with every request.
FRAMES_PER_ANSWER = 4

#: Bytes of headers remembered to send them shorter, the size that the protocol starts with; a
#: client may allow any (RFC 7541, 4.2), and every header is looked for among them.
MOST_REMEMBERED = 4 * KIB

#: Largest frame that a client may send; fewer frames are less work.
FRAME_SIZE = 256 * KIB


class Buffer(StreamBuffer):
    """What waits for a stream's window: bounded, however long that is shut.

    Stock Hypercorn lets the application go on whenever little is taken out, also where much is
    left: one whose client opens no window ends with its whole answer in memory.
    """

    async def pop(self, max_length: int) -> bytes:
        """Take out what may be sent; the application goes on once little is left."""
        data = bytes(self.buffer[:max_length])
        del self.buffer[:max_length]
        if len(self.buffer) < BUFFER_LOW_WATER:
            await self._paused.set()
        if not self.buffer:
            await self._is_empty.set()
        return data


class Http2(H2Protocol):
    """Hypercorn's HTTP/2 protocol, in which no stream can hold up or break the connection.

    Stock Hypercorn keeps the windows of 64 KiB that the protocol starts with, hands data to one
    stream before it looks at the next, dies of data for a stream that was answered, and leaves the
    client of a failed answer waiting.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connection: Http2Connection = Http2Connection(self.config.h2_max_concurrent_streams)
        #: Streams answered before their request was complete, and what more of it is dropped. To
        #: reset them at once (RFC 9113, 8.1) has clients lose the answer.
        self._unwanted: dict[int, int] = {}
        #: Bytes read since a window was last opened: of streams that still come, and of all.
        self._credits = {CONNECTION: 0}
        self._resets = Budget(RESETS, RESETS_PER_SECOND, RESETS)
        self._widened: set[int] = set()
        self._said_farewell = False
        self._widest_window = 0

    async def initiate(self, *args: Any) -> None:
        """Open the connection, with windows that fit a long wire."""
        await super().initiate(*args)
        self.connection.update_settings(
            {
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                SettingCodes.MAX_FRAME_SIZE: FRAME_SIZE,
            }
        )
        # h2 waits for the acknowledgement, but looks only once a read: the first large frame may
        # come with it.
        self.connection.max_inbound_frame_size = FRAME_SIZE
        # Every stream may fill its own window: one that is not read must not starve the others.
        whole = STREAM_WINDOW * self.config.h2_max_concurrent_streams
        self.connection.increment_flow_control_window(whole)
        await self._flush()
        # The preface passed for a request; without a real one the connection is not to stay.
        await self.send(Updated(idle=self.idle))

    @property
    def untaken(self) -> int:
        """Bytes of bodies sent that the client has not said to have taken; it may never do so."""
        return self._widest_window - self.connection.outbound_flow_control_window

    async def handle(self, event: IOEvent) -> None:
        """Handle bytes that the client sent, or the end of the connection.

        Args:
            event: `RawData`, which is ignored after `GOAWAY`, or `Closed`.
        """
        if isinstance(event, RawData):
            await self._take(event.data)
            return
        await super().handle(event)
        for stream_id in list(self.stream_buffers):
            await self._forget(stream_id)

    async def _take(self, data: bytes) -> None:
        """Handle received bytes, a bounded number of frames in each turn of the event loop."""
        try:
            while not (self.closed or self._said_farewell):
                await self._handle_events(self.connection.receive_data(data))
                if not self.connection.frames.turn_is_over:
                    return
                data = b""
                await asyncio.sleep(0)
        except ProtocolError as error:
            await self._give_up(error.error_code)

    async def _give_up(self, error_code: ErrorCodes) -> None:
        """End the connection, and all requests on it, by `GOAWAY`."""
        if self.connection.state_machine.state is not H2State.CLOSED:
            self.connection.close_connection(error_code)
        await super()._flush()
        await self.handle(Closed())
        await self.send(Closed())

    async def say_farewell(self) -> None:
        """Tell the client that its requests are answered no more (RFC 9113, 6.8)."""
        if not self._said_farewell:
            self._said_farewell = True
            self.connection.close_connection()
        await super()._flush()

    async def _handle_events(self, events: list[H2Event]) -> None:
        window = self.connection.outbound_flow_control_window
        self._widest_window = max(self._widest_window, window)
        for event in events:
            if self.closed:
                return
            await self._handle_event(event)
        await self._unblock()
        await self._flush()

    async def _handle_event(self, event: H2Event) -> None:
        stream = self.streams.get(getattr(event, "stream_id", None) or CONNECTION)
        match event:
            case RequestReceived():
                await self._open(event)
            case DataReceived():
                await self._receive(event, stream)
            case TrailersReceived() if isinstance(stream, Stream):
                stream.trailers.extend(event.headers)
            case StreamEnded(stream_id=stream_id):
                if stream is not None:
                    await stream.handle(EndBody(stream_id))
                self._unwanted.pop(stream_id, None)
                self._credits.pop(stream_id, None)
            case StreamReset(stream_id=stream_id):
                await self._close_stream(stream_id)
                await self._forget(stream_id)
                self._resets.spend()
            case WindowUpdated():
                self._widened.add(event.stream_id or CONNECTION)
            case RemoteSettingsChanged():
                self._take_settings(event)
            case ConnectionTerminated():
                await self.send(Closed())

    async def _unblock(self) -> None:
        """Have streams send whose windows opened, once for all frames of a turn."""
        if self._widened:
            buffers = self.stream_buffers.keys()
            for stream_id in buffers if CONNECTION in self._widened else self._widened & buffers:
                self.priority.unblock(stream_id)
            self._widened.clear()
            await self.has_data.set()

    def _take_settings(self, event: RemoteSettingsChanged) -> None:
        """Apply settings of the client, but remember few header fields, whatever it allows."""
        encoder = self.connection.encoder
        encoder.header_table_size = min(encoder.header_table_size, MOST_REMEMBERED)
        if SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings:
            self._widened.add(CONNECTION)

    async def _open(self, event: RequestReceived) -> None:
        """Begin a stream, also while the service stops: the connection ends once it is idle.

        Clients built on h2 drop answers under way when `GOAWAY` comes before.
        """
        self._credits[event.stream_id] = 0
        await self._create_stream(event)
        if isinstance(stream := self.streams.get(event.stream_id), Stream):
            # Hypercorn puts methods into capitals: they are case-sensitive (RFC 9110, 9.1).
            stream.scope["method"] = dict(event.headers)[b":method"].decode()
            stream.gone = asyncio.Event()
            stream.unsent = partial(self._unsent, event.stream_id)
            stream.inbox.taken = partial(self._give_credit, event.stream_id)
        await self.send(Updated(idle=False))

    def _unsent(self, stream_id: int) -> int:
        """Give what waits for a stream's window, and only with one that is open for the wire.

        Else other streams would make one that is not read look alive.
        """
        buffer = self.stream_buffers.get(stream_id)
        unsent = len(buffer.buffer) if buffer else 0
        with suppress(ProtocolError):  # closed meanwhile
            if self.connection.local_flow_control_window(stream_id) > 0:
                unsent += cast("ConnectionState", self.connection_state).unsent()
        return unsent

    async def _receive(self, event: DataReceived, stream: HTTPStream | WSStream | None) -> None:
        """Hand data over without waiting: the window bounds it, and opens as it is read."""
        size, stream_id = event.flow_controlled_length, event.stream_id
        if isinstance(stream, Stream) and event.data:
            message = {"type": "http.request", "body": event.data, "more_body": True}
            stream.inbox.push(cast("ASGIReceiveEvent", message), size)
            return
        if isinstance(stream, WSStream):
            await stream.handle(Body(stream_id=stream_id, data=event.data))
        self._give_credit(stream_id, size)
        if event.stream_ended is None:
            await self._drop(stream_id, size)

    async def _drop(self, stream_id: int, size: int) -> None:
        """Count the rest of a request that was answered."""
        if stream_id in self._unwanted:
            self._unwanted[stream_id] -= size
            if self._unwanted[stream_id] < 0 and stream_id not in self.stream_buffers:
                await self._reset(stream_id, ErrorCodes.NO_ERROR)

    def _give_credit(self, stream_id: int, size: int) -> None:
        """Open windows again by what was read; h2 itself waits until half of one is used up."""
        for number in {stream_id, CONNECTION} & self._credits.keys():
            self._credits[number] += size
            if self._credits[number] >= CREDIT_SIZE:
                credit, self._credits[number] = self._credits[number], 0
                with suppress(ProtocolError):  # closed meanwhile
                    self.connection.increment_flow_control_window(credit, number or None)
        if not self.closed and (update := self.connection.data_to_send()):
            self.task_group.spawn(self.send, RawData(update))

    async def stream_send(self, event: Event) -> None:
        """Send what a stream says; one that ends before its time is reset, and it alone."""
        if isinstance(event, StreamClosed):
            await self._end(event.stream_id, self.streams.get(event.stream_id))
            # Not Hypercorn's own way, whose farewell may come before the end of the answer.
            await self._close_stream(event.stream_id)
            await self.send(Updated(idle=self.idle))
        else:
            await super().stream_send(event)

    async def _flush(self) -> None:
        # With the end of the last answer, a farewell leaves no time in which the next request
        # could cross it.
        h2 = self.connection
        is_over = h2.highest_inbound_stream_id and h2.open_inbound_streams == 0
        is_last = self.keep_alive_requests >= self.config.keep_alive_max_requests
        if is_over and (is_last or self.context.terminated.is_set()):
            await self.say_farewell()
        else:
            await super()._flush()

    async def _end(self, stream_id: int, stream: object) -> None:
        if isinstance(stream, WebSocket):
            if stream.is_cut:
                await self._reset(stream_id, ErrorCodes.INTERNAL_ERROR)
            return
        if not isinstance(stream, Stream):
            return
        if stream.state is not ASGIHTTPState.CLOSED:  # the application failed within its answer
            await self._reset(stream_id, ErrorCodes.INTERNAL_ERROR)
            return
        self._resets.earn(1)
        self.connection.idle_frames.earn(FRAMES_PER_ANSWER)
        if not stream.complete:
            self._unwanted[stream_id] = UNWANTED_SIZE

    async def _send_data(self, stream_id: int) -> None:
        with suppress(KeyError, MissingStreamError):  # reset while data waited for the wire
            await super()._send_data(stream_id)

    async def _reset(self, stream_id: int, code: ErrorCodes) -> None:
        with suppress(ProtocolError):
            self.connection.reset_stream(stream_id, code)
        await self._forget(stream_id)
        await self._flush()

    async def _forget(self, stream_id: int) -> None:
        """Drop what is not sent yet; an application that waits to send goes on."""
        self._unwanted.pop(stream_id, None)
        self._credits.pop(stream_id, None)
        buffer = self.stream_buffers.pop(stream_id, None)
        if buffer is not None:
            await buffer.close()
            with suppress(MissingStreamError):
                self.priority.remove_stream(stream_id)
