"""The HTTP/2 state machine, in which an error of one stream ends that stream only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from h2.config import H2Configuration
from h2.connection import AllowedStreamIDs, H2Connection
from h2.errors import ErrorCodes
from h2.events import RequestReceived, StreamReset, TrailersReceived
from h2.exceptions import (
    DenialOfServiceError,
    InvalidBodyLengthError,
    NoSuchStreamError,
    ProtocolError,
    StreamClosedError,
    StreamIDTooLowError,
    TooManyStreamsError,
)
from h2.settings import SettingCodes, Settings
from h2.stream import StreamClosedBy, StreamState
from h2.utilities import HeaderValidationFlags, validate_headers
from hpack import Decoder
from hpack.exceptions import HPACKError, OversizedHeaderListError
from hyperframe.frame import DataFrame, HeadersFrame, RstStreamFrame, SettingsFrame

from quart_app.models import KIB
from quart_app.server.http2_frames import Budget, FaultyFrame, Frames

if TYPE_CHECKING:
    from collections.abc import Iterable

    from h2.events import Event
    from h2.stream import H2Stream
    from hpack.struct import Header, HeaderTuple
    from hyperframe.frame import Frame, PriorityFrame

__all__ = ["HEADER_LIST_SIZE", "Http2Connection"]

#: Bytes of the header list of one request, as the client is told (RFC 9113, 6.5.2).
HEADER_LIST_SIZE = 32 * KIB

#: Bytes of a header list that is decoded. Up to here, a list that is too large is an error of its
#: stream; beyond, the decoder stops, and the connection ends.
DECODED_SIZE = 64 * KIB

#: Fields of one request. `Cookie` counts once, however many fields a client splits it into. The
#: list size allows some 900 fields, which take the application some 20 ms.
MOST_FIELDS = 128

#: Streams that were closed whose end is remembered, for frames that were on the way.
MOST_CLOSED_STREAMS = 1000

#: Idle frames of a connection: frames that neither a window nor the number of streams bounds.
IDLE_FRAMES = 1000
IDLE_FRAMES_PER_SECOND = 100
MOST_EARNED_FRAMES = 10_000

#: Bytes of bodies that earn one idle frame. A client may acknowledge each small DATA frame by two
#: WINDOW_UPDATE frames.
BYTES_PER_FRAME = 256
FRAMES_PER_ACKNOWLEDGEMENT = 2

#: Price of SETTINGS, which may change the windows of all streams.
SETTINGS_PRICE = 10

#: Method, path, and names and values of fields (RFC 9110, 5.5 and 5.6.2; RFC 3986, 2). Names have
#: no upper-case letters (RFC 9113, 8.2.1).
TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
VISIBLE = re.compile(rb"[!-~]+")
NAME = re.compile(rb":?[!#$%&'*+.^_`|~0-9a-z-]+")
VALUE = re.compile(rb"[\t -~\x80-\xff]*")

#: Bytes that a field counts for beside its name and value (RFC 9113, 6.5.2).
FIELD_OVERHEAD = 32


class HeaderBlockError(ProtocolError):
    """A header block that was not decoded to its end, after which no other block can be.

    Args:
        error_code: Code for the end of the connection.
    """

    def __init__(self, error_code: ErrorCodes) -> None:
        super().__init__()
        self.error_code = error_code


class TunnelError(ProtocolError):
    """A request for a tunnel, which the server does not offer."""

    error_code = ErrorCodes.CONNECT_ERROR


class _Decoder(Decoder):
    """Decoder whose errors are not mistaken for errors of one request."""

    def __init__(self) -> None:
        super().__init__(DECODED_SIZE)

    def decode(self, data: bytes, raw: bool = False) -> Iterable[HeaderTuple]:
        try:
            return super().decode(data, raw)
        except OversizedHeaderListError as error:
            raise HeaderBlockError(ErrorCodes.ENHANCE_YOUR_CALM) from error
        except (HPACKError, IndexError) as error:  # RFC 9113, 4.3
            raise HeaderBlockError(ErrorCodes.COMPRESSION_ERROR) from error


class Http2Connection(H2Connection):
    """Connection of h2 with stream errors, and with a bound for frames that no window bounds.

    For h2, each malformed request is an error of the connection, which ends all other requests on
    it. RFC 9113, 8.1.1 has it be an error of the stream. Every header block is decoded first,
    whatever becomes of the request, because all blocks share one compression state.

    Attributes:
        frames: Frames that have arrived.
        idle_frames: Tokens for idle frames.

    Args:
        most_streams: Streams that a client may have open at the same time.
    """

    MAX_CLOSED_STREAMS = MOST_CLOSED_STREAMS

    def __init__(self, most_streams: int) -> None:
        # Requests are validated in `_receive_headers_frame`.
        super().__init__(
            H2Configuration(client_side=False, header_encoding=None, validate_inbound_headers=False)
        )
        self.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: most_streams,
                SettingCodes.MAX_HEADER_LIST_SIZE: HEADER_LIST_SIZE,
                SettingCodes.ENABLE_CONNECT_PROTOCOL: 1,
            },
        )
        self.decoder = _Decoder()
        self.incoming_buffer = self.frames = Frames()
        self.idle_frames = Budget(IDLE_FRAMES, IDLE_FRAMES_PER_SECOND, MOST_EARNED_FRAMES)
        self._frame_dispatch_table[FaultyFrame] = self._receive_faulty_frame

    def receive_data(self, data: Any = b"") -> list[Event]:
        """Handle the frames of one turn; `frames.turn_is_over` says whether more may wait.

        Args:
            data: Bytes that have arrived, if any.

        Returns:
            What h2 reports.

        Raises:
            ProtocolError: The connection ends. `GOAWAY` is ready to be sent.
        """
        self.frames.begin_turn()
        return super().receive_data(data)

    def send_data(self, stream_id: int, data: bytes | memoryview, *args: Any, **kw: Any) -> None:
        """Send a part of a body, which pays for `WINDOW_UPDATE`, `PING` and the like.

        A frame that used up a window pays by its bytes only: a client can have every frame hold a
        single byte (CVE-2019-9511).
        """
        super().send_data(stream_id, data, *args, **kw)
        whole = self.streams[stream_id].open and self.local_flow_control_window(stream_id) > 0
        earned = len(data) / BYTES_PER_FRAME
        self.idle_frames.earn(earned + (FRAMES_PER_ACKNOWLEDGEMENT if whole else 0))

    def _receive_frame(self, frame: Frame) -> list[Event]:
        self.idle_frames.spend(self._price(frame))
        return super()._receive_frame(frame)

    def _price(self, frame: Frame) -> float:
        """Return the idle frames that a frame counts for: 0 if something else bounds it."""
        stream = self.streams.get(frame.stream_id)
        is_open = stream is not None and stream.open
        if isinstance(frame, DataFrame):
            if is_open:
                return 0 if frame.data or "END_STREAM" in frame.flags else 1
            return max(0, 1 - len(frame.data) / BYTES_PER_FRAME)
        if isinstance(frame, HeadersFrame):
            return 0 if is_open or frame.stream_id > self.highest_inbound_stream_id else 1
        return SETTINGS_PRICE if isinstance(frame, SettingsFrame) else 1

    def _receive_settings_frame(self, frame: SettingsFrame) -> tuple[list[Frame], list[Event]]:
        # h2 would remember unknown settings, of which there are 65,000 (RFC 9113, 6.5.2).
        for code in frame.settings.keys() - set(SettingCodes):
            del frame.settings[code]
        return super()._receive_settings_frame(frame)

    def _receive_priority_frame(
        self, _: HeadersFrame | PriorityFrame
    ) -> tuple[list[Frame], list[Event]]:
        return [], []  # deprecated (RFC 9113, 5.3.2)

    def _receive_faulty_frame(self, frame: FaultyFrame) -> tuple[list[Frame], list[Event]]:
        try:
            stream = self._get_stream_by_id(frame.stream_id)
        except StreamClosedError:
            return [], []
        return self._refuse(stream, frame.error_code) if stream.open else ([], [])

    def _receive_headers_frame(self, frame: HeadersFrame) -> tuple[list[Frame], list[Event]]:
        frame.flags.discard("PRIORITY")
        missing = _missing_size(self.streams.get(frame.stream_id))
        try:
            frames, events = super()._receive_headers_frame(frame)
            event, stream = events[0], self.streams[frame.stream_id]
            if isinstance(event, RequestReceived):
                _check_request(event.headers)
                missing = _missing_size(stream)
            elif isinstance(event, TrailersReceived):
                _check_fields(event.headers, is_trailer=True)
            if "END_STREAM" in frame.flags and missing:
                raise InvalidBodyLengthError(missing, 0)
        except TooManyStreamsError:
            self.decoder.decode(frame.data, raw=True)
            stream = self._get_or_create_stream(frame.stream_id, AllowedStreamIDs.ODD)
            return self._refuse(stream, ErrorCodes.REFUSED_STREAM)  # RFC 9113, 5.1.2
        except (HeaderBlockError, NoSuchStreamError, StreamIDTooLowError):
            raise
        except ProtocolError as error:
            if frame.stream_id not in self.streams:
                raise
            return self._refuse(self.streams[frame.stream_id], error.error_code)
        return frames, events

    def _receive_data_frame(self, frame: DataFrame) -> tuple[list[Frame], list[Event]]:
        try:
            return super()._receive_data_frame(frame)
        except InvalidBodyLengthError as error:
            _, events = self._refuse(self.streams[frame.stream_id], error.error_code)
            closed = StreamClosedError(frame.stream_id)
            closed.error_code = error.error_code
            # Also returns the size of the frame to the window of the connection.
            return self._handle_data_on_closed_stream(events, closed, frame)

    def _refuse(self, stream: H2Stream, error_code: ErrorCodes) -> tuple[list[Frame], list[Event]]:
        """Close one stream by `RST_STREAM`, whatever its state."""
        machine = stream.state_machine
        machine.state, machine.stream_closed_by = StreamState.CLOSED, StreamClosedBy.SEND_RST_STREAM
        event = StreamReset(stream_id=stream.stream_id, error_code=error_code, remote_reset=False)
        return [RstStreamFrame(stream.stream_id, error_code)], [event]


def _missing_size(stream: H2Stream | None) -> int:
    """Return the bytes by which a body is shorter than its `Content-Length`.

    h2 compares them with the end of a body, but not where headers or trailers end the stream.
    """
    if stream is None or stream._expected_content_length is None:  # noqa: SLF001
        return 0
    return stream._expected_content_length - stream._actual_content_length  # noqa: SLF001


def _check_request(headers: list[Header]) -> None:
    """Check a request (RFC 9113, 8.2 and 8.3).

    Raises:
        ProtocolError: The request is malformed, too large, or for a tunnel.
    """
    _check_fields(headers, is_trailer=False)
    pseudo = dict(headers[:5])
    method, path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    if method == b"CONNECT" and b":protocol" not in pseudo:
        raise TunnelError  # RFC 9113, 8.5
    if not (TOKEN.fullmatch(method) and VISIBLE.fullmatch(path)):
        raise ProtocolError("malformed method or path")


def _check_fields(headers: list[Header], *, is_trailer: bool) -> None:
    if len(headers) > MOST_FIELDS:
        raise DenialOfServiceError("too many fields")
    if sum(len(name) + len(value) + FIELD_OVERHEAD for name, value in headers) > HEADER_LIST_SIZE:
        raise DenialOfServiceError("header list too large")
    flags = HeaderValidationFlags(
        is_client=False, is_trailer=is_trailer, is_response_header=False, is_push_promise=False
    )
    for name, value in validate_headers(headers, flags):
        if not (NAME.fullmatch(name) and VALUE.fullmatch(value)):
            raise ProtocolError("malformed field")
