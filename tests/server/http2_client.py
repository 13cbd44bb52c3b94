"""An HTTP/2 client on a plain socket, by prior knowledge, which can also misbehave."""

from __future__ import annotations

import socket
import time
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    InformationalResponseReceived,
    PingAckReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.settings import SettingCodes

if TYPE_CHECKING:
    from collections.abc import Callable

    from hyperframe.frame import Frame

    from tests.server_process import ServerProcess

__all__ = ["CLIENT_SECONDS", "KIB", "Answer", "Http2Client", "http2"]

KIB = 1024

#: Longest wait for an answer that should come.
CLIENT_SECONDS = 30

Headers = list[tuple[str, str]]


@dataclass
class Answer:
    """What has come of an answer so far.

    Attributes:
        ended: How it ended: "end", the code of a reset, or None for not yet.
    """

    statuses: list[int] = field(default_factory=list)
    headers: Headers = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    ended: str | int | None = None

    @property
    def status(self) -> int:
        return self.statuses[-1]


class Http2Client:
    """One connection; answers are collected by stream.

    Args:
        connected: The socket, which it closes.
        window: What one stream may be sent ahead; nothing is given back on streams in `stalled`.
        acknowledge: Whether to acknowledge the server's settings.
        lax: Whether requests may be malformed.
    """

    def __init__(
        self,
        connected: socket.socket,
        window: int = 64 * KIB - 1,
        *,
        acknowledge: bool = True,
        lax: bool = False,
    ) -> None:
        self.socket = connected
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answers: dict[int, Answer] = defaultdict(Answer)
        self.events: list[Event] = []
        self.stalled: set[int] = set()
        self.closed = False
        self._pings = 0
        self.h2 = H2Connection(
            H2Configuration(
                client_side=True,
                header_encoding="latin-1",
                validate_outbound_headers=not lax,
                normalize_outbound_headers=not lax,
            )
        )
        self.h2.initiate_connection()
        self.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.h2.increment_flow_control_window(64 * 1024 * KIB)
        self.flush()
        # The server's settings, without which nobody knows its windows.
        self._acknowledge = acknowledge
        self.ping()
        self._acknowledge = True

    def flush(self) -> None:
        self.raw(self.h2.data_to_send())

    def raw(self, data: bytes) -> None:
        self.socket.settimeout(CLIENT_SECONDS)
        self.socket.sendall(data)

    def frame(self, *frames: Frame) -> None:
        """Sends frames that the library would not."""
        self.flush()
        self.raw(b"".join(frame.serialize() for frame in frames))

    def request(self, method: str, target: str, *headers: tuple[str, str], end: bool = True) -> int:
        """Opens a stream and gives its number."""
        pseudo = [(":method", method), (":scheme", "http"), (":authority", "test")]
        return self.open([*pseudo, (":path", target), *headers], end=end)

    def open(self, headers: Headers, *, end: bool) -> int:
        """Opens a stream by any headers and gives its number."""
        stream: int = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, headers, end_stream=end)
        self.flush()
        return stream

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Sends data as far and as fast as the windows allow."""
        view = memoryview(data)
        while view:
            self.until(lambda: self.room(stream) > 0)
            size = min(len(view), self.room(stream), self.h2.max_outbound_frame_size)
            self.h2.send_data(stream, bytes(view[:size]))
            view = view[size:]
            self.flush()
        if end:
            self.h2.end_stream(stream)
            self.flush()

    def room(self, stream: int) -> int:
        return int(self.h2.local_flow_control_window(stream))

    def reset(self, stream: int, code: int = 8) -> None:
        self.h2.reset_stream(stream, code)
        self.flush()

    def receive(self, seconds: float = CLIENT_SECONDS, size: int = 256 * KIB) -> None:
        """Takes what comes next; the end of the connection sets `closed`."""
        self.socket.settimeout(max(seconds, 0.001))
        try:
            data = self.socket.recv(size)
        except TimeoutError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self.closed = True
            return
        for event in self.h2.receive_data(data):
            self.events.append(event)
            self._take(event)
        if not self._acknowledge:
            self.h2.clear_outbound_data_buffer()
        if not any(isinstance(event, ConnectionTerminated) for event in self.events):
            self.flush()

    def _take(self, event: Event) -> None:
        answer = self.answers[getattr(event, "stream_id", None) or 0]
        if isinstance(event, ResponseReceived | InformationalResponseReceived):
            headers = [(str(name), str(value)) for name, value in event.headers or []]
            answer.headers = headers
            answer.statuses.append(int(dict(headers)[":status"]))
        elif isinstance(event, DataReceived):
            answer.body += event.data
            if event.stream_id not in self.stalled:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            answer.ended = "end"
        elif isinstance(event, StreamReset):
            answer.ended = answer.ended or int(event.error_code or 0)

    def until(self, condition: Callable[[], object], seconds: float = CLIENT_SECONDS) -> bool:
        """Receives until the condition holds; tells whether it came to hold."""
        deadline = time.monotonic() + seconds
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0 or self.closed:
                return False
            self.receive(left)
        return True

    def answer(self, stream: int, seconds: float = CLIENT_SECONDS) -> Answer:
        """Receives an answer to its end, the connection's end, or the deadline."""
        self.until(lambda: self.answers[stream].ended is not None, seconds)
        return self.answers[stream]

    def get(self, target: str, seconds: float = CLIENT_SECONDS) -> Answer:
        return self.answer(self.request("GET", target), seconds)

    def ping(self, seconds: float = CLIENT_SECONDS) -> bool:
        """Waits until all that was sent has been looked at; tells whether it was."""
        self._pings += 1
        payload = b"%08d" % self._pings
        self.h2.ping(payload)
        self.flush()
        return self.until(lambda: payload in self._acknowledged(), seconds)

    def _acknowledged(self) -> list[bytes]:
        return [event.ping_data for event in self.events if isinstance(event, PingAckReceived)]

    def is_closed(self, seconds: float = 0.1) -> bool:
        """Whether the server closes the connection within some seconds."""
        return self.until(lambda: self.closed, seconds)

    @property
    def window(self) -> int:
        """What the server lets a client send ahead on one stream."""
        return int(self.h2.remote_settings[SettingCodes.INITIAL_WINDOW_SIZE])

    def close(self) -> None:
        self.socket.close()


def http2(
    server: ServerProcess,
    window: int = 64 * KIB - 1,
    *,
    acknowledge: bool = True,
    lax: bool = False,
    receive_buffer: int | None = None,
) -> closing[Http2Client]:
    """Opens a connection that is closed with the block."""
    connected = socket.socket()
    if receive_buffer is not None:  # has to be known before the connection is made
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connected.connect((server.host, server.port))
    return closing(Http2Client(connected, window, acknowledge=acknowledge, lax=lax))
