"""HTTP/2 with windows for bulk, streams that do not wait for each other, and honest ends."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    PriorityUpdated,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol.events import Body, StreamClosed
from hypercorn.protocol.h2 import BUFFER_LOW_WATER, H2Protocol, StreamBuffer
from hypercorn.protocol.http_stream import ASGIHTTPState
from hypercorn.protocol.ws_stream import WSStream
from priority.priority import MissingStreamError

from quart_app.models import KIB, MIB
from quart_app.server.stream import UNSENT_STATE, Stream
from quart_app.server.websocket import WebSocket

if TYPE_CHECKING:
    from h2.events import Event as H2Event
    from hypercorn.events import Event as IOEvent
    from hypercorn.protocol.events import Event
    from hypercorn.protocol.http_stream import HTTPStream
    from hypercorn.typing import ASGIReceiveEvent

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

#: Frames that no window bounds, DATA without a byte and SETTINGS, that a connection may bring.
MOST_IDLE_FRAMES = 1000

#: Streams that a client may reset on one connection, over those that were answered.
MOST_RESETS = 1000

#: Bytes of headers remembered to send them shorter, the size that the protocol starts with; a
#: client may allow any (RFC 7541, 4.2), and every header is looked for among them.
MOST_REMEMBERED = 4 * KIB

#: Largest frame that a client may send; fewer frames are less work.
FRAME_SIZE = 256 * KIB

#: Bytes of a frame or a header block under way.
MOST_UNPARSED = FRAME_SIZE + 1 * KIB

#: A method, and a path (RFC 9110, 5.6.2; RFC 3986, 2).
TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
VISIBLE = re.compile(rb"[!-~]+")


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
        #: Streams answered before their request was complete, and what more of it is dropped. To
        #: reset them at once (RFC 9113, 8.1) has clients lose the answer.
        self._unwanted: dict[int, int] = {}
        #: Bytes read since a window was last opened: of streams that still come, and of all.
        self._credits = {CONNECTION: 0}
        self._idle_frames = 0
        self._resets = 0
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
        """Take what the connection has received, or its end; after the farewell, its end only."""
        if self._said_farewell and not isinstance(event, Closed):
            return
        await super().handle(event)
        if isinstance(event, Closed):
            for stream_id in list(self.stream_buffers):
                await self._forget(stream_id)
        elif not self.closed and self._unparsed() > MOST_UNPARSED:
            await self._give_up(ErrorCodes.FRAME_SIZE_ERROR)

    def _unparsed(self) -> int:
        """Give the bytes of a frame or header block under way; h2 looks at sizes too late."""
        buffer = self.connection.incoming_buffer
        headers = sum(len(frame.data) for frame in buffer._headers_buffer)  # noqa: SLF001
        return len(buffer._data) + headers  # noqa: SLF001

    async def _give_up(self, code: ErrorCodes) -> None:
        """End the connection of a client that is up to no good, and all that runs for it."""
        self.connection.close_connection(code)
        await self._flush()
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
            stream = self.streams.get(getattr(event, "stream_id", None) or 0)
            if isinstance(event, DataReceived):
                await self._receive(event, stream)
            elif isinstance(event, TrailersReceived) and isinstance(stream, Stream):
                stream.trailers.extend(event.headers)
            elif isinstance(event, RequestReceived):
                await self._open(event)
            elif isinstance(event, RemoteSettingsChanged):
                await self._take_settings(event)
            elif isinstance(event, PriorityUpdated):
                pass  # deprecated (RFC 9113, 5.3.2), and its tree of unopened streams never shrinks
            else:
                await super()._handle_events([event])
                if isinstance(event, StreamReset):
                    await self._forget(event.stream_id)
                    await self._count_reset()
                elif isinstance(event, StreamEnded):
                    self._unwanted.pop(event.stream_id, None)
                    self._credits.pop(event.stream_id, None)
        await self._flush()

    async def _take_settings(self, event: RemoteSettingsChanged) -> None:
        encoder = self.connection.encoder
        encoder.header_table_size = min(encoder.header_table_size, MOST_REMEMBERED)
        await super()._handle_events([event])
        await self._count_idle_frame()

    async def _open(self, event: RequestReceived) -> None:
        """Begin a stream, while the service stops too: the connection ends when it is idle.

        To announce that before (GOAWAY) has clients built on h2 drop what they are receiving.
        """
        if refusal := _refusal(dict(event.headers)):
            self.connection.reset_stream(event.stream_id, refusal)
            return
        self._credits[event.stream_id] = 0
        await self._create_stream(event)
        if isinstance(stream := self.streams.get(event.stream_id), Stream):
            # Hypercorn puts methods into capitals: they are case-sensitive (RFC 9110, 9.1).
            stream.scope["method"] = dict(event.headers)[b":method"].decode()
            stream.gone = asyncio.Event()
            stream.unsent = partial(self._unsent, event.stream_id)
            stream.inbox.taken = partial(self._give_credit, event.stream_id)
        await self.send(Updated(idle=False))
        await asyncio.sleep(0)  # requests come by the hundred at once

    def _unsent(self, stream_id: int) -> int:
        """Give what waits for a stream's window, and only with one that is open for the wire.

        Else other streams would make one that is not read look alive.
        """
        buffer = self.stream_buffers.get(stream_id)
        unsent = len(buffer.buffer) if buffer else 0
        with suppress(ProtocolError):  # closed meanwhile
            if self.connection.local_flow_control_window(stream_id) > 0:
                unsent += self.connection_state[UNSENT_STATE]()
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
        """Count what comes for nobody: empty frames, and the rest of what was answered."""
        if not size:
            await self._count_idle_frame()
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
        if is_over and self.context.terminated.is_set():
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
        self._resets = max(0, self._resets - 1)
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

    async def _count_reset(self) -> None:
        """End a client that opens streams only to reset them (CVE-2023-44487)."""
        self._resets += 1
        if self._resets > MOST_RESETS:
            await self._give_up(ErrorCodes.ENHANCE_YOUR_CALM)

    async def _count_idle_frame(self) -> None:
        """End a client that sends frames of no consequence (RFC 9113, 10.5)."""
        self._idle_frames += 1
        if self._idle_frames > MOST_IDLE_FRAMES:
            await self._give_up(ErrorCodes.ENHANCE_YOUR_CALM)


def _refusal(headers: dict[bytes, bytes]) -> ErrorCodes | None:
    """Tell what is wrong with a request that h2 has no objection to."""
    method, path = headers.get(b":method", b""), headers.get(b":path", b"")
    if method == b"CONNECT" and b":protocol" not in headers:
        return ErrorCodes.CONNECT_ERROR  # a plain tunnel (RFC 9113, 8.5) is not offered
    if TOKEN.fullmatch(method) and VISIBLE.fullmatch(path):
        return None
    return ErrorCodes.PROTOCOL_ERROR  # Hypercorn would fail on what is not ASCII
