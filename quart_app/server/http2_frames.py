"""HTTP/2 frames as they arrive: none too large, few in one turn of the event loop."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes
from h2.exceptions import DenialOfServiceError
from h2.frame_buffer import FrameBuffer
from hyperframe.frame import (
    ContinuationFrame,
    Frame,
    HeadersFrame,
    PriorityFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from quart_app.models import KIB

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TURN_FRAMES", "Budget", "FaultyFrame", "Frames"]

#: Frames of one connection that are handled in one turn of the event loop.
TURN_FRAMES = 32

#: Bytes of a frame's header, of a setting, of PRIORITY and of WINDOW_UPDATE (RFC 9113, 4.1 and 6).
FRAME_HEADER_SIZE = 9
SETTING_SIZE = 6
PRIORITY_SIZE = 5
WINDOW_UPDATE_SIZE = 4

#: Settings in one frame. RFC 9113 defines six; extensions define about as many.
MOST_SETTINGS = 32

#: Compressed bytes of one header block. No encoder needs more for the largest header list.
HEADER_BLOCK_SIZE = 64 * KIB

#: Types of frame that take the rest of a turn: each may cost some milliseconds.
HEAVY_TYPES = {HeadersFrame.type, ContinuationFrame.type, SettingsFrame.type}

#: Types of frame that make up a header block.
BLOCK_TYPES = {HeadersFrame.type, ContinuationFrame.type}


class Budget:
    """A token bucket: a rate that a client may always keep up, a burst, and what the client earns.

    A total over the lifetime of a connection would end every connection that lives for long.

    Args:
        burst: Tokens at the start, and the most that time alone refills.
        per_second: Tokens that time refills.
        most: Most tokens that a client can hold by earning them.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        burst: float,
        per_second: float,
        most: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._burst = burst
        self._per_second = per_second
        self._most = most
        self._clock = clock
        self._tokens = burst
        self._refilled_at = clock()

    def earn(self, tokens: float) -> None:
        """Add tokens for useful work."""
        self._tokens = min(self._most, self._tokens + tokens)

    def spend(self, tokens: float = 1) -> None:
        """Take tokens.

        Raises:
            DenialOfServiceError: There are not enough tokens (RFC 9113, 10.5).
        """
        now = self._clock()
        refill = (now - self._refilled_at) * self._per_second
        self._refilled_at = now
        if self._tokens < self._burst:
            self._tokens = min(self._burst, self._tokens + refill)
        self._tokens -= tokens
        if self._tokens < 0:
            raise DenialOfServiceError("too many frames without use")


class FaultyFrame(Frame):
    """A frame with an error that concerns one stream only.

    Args:
        stream_id: Number of the stream.
        error_code: Code for the `RST_STREAM` frame.
    """

    def __init__(self, stream_id: int, error_code: ErrorCodes) -> None:
        super().__init__(stream_id)
        self.error_code = error_code

    def _body_repr(self) -> str:
        return f"error_code={self.error_code!r}"


class Frames(FrameBuffer):
    """Buffer of h2 that yields at most one turn of frames, and checks sizes before bytes arrive.

    The buffer of h2 yields every frame that has arrived, and compares the size of a frame with the
    limit once the whole frame is in memory.
    """

    def __init__(self) -> None:
        super().__init__(server=True)
        self._turn_left = TURN_FRAMES

    def begin_turn(self) -> None:
        """Allow the frames of one more turn."""
        self._turn_left = TURN_FRAMES

    @property
    def turn_is_over(self) -> bool:
        """Whether frames may wait for the next turn."""
        return self._turn_left <= 0 and len(self._data) >= FRAME_HEADER_SIZE

    def __next__(self) -> Frame:
        """Return the next frame of this turn."""
        if self._turn_left <= 0 or len(self._data) < FRAME_HEADER_SIZE:
            raise StopIteration
        length, kind = int.from_bytes(self._data[:3], "big"), self._data[3]
        self._check_size(kind, length)
        if len(self._data) < FRAME_HEADER_SIZE + length:
            raise StopIteration
        self._turn_left -= TURN_FRAMES if kind in HEAVY_TYPES else 1
        return self._take_faulty(kind, length) or super().__next__()

    def _check_size(self, kind: int, length: int) -> None:
        self._validate_frame_length(length)
        if kind == SettingsFrame.type and length > MOST_SETTINGS * SETTING_SIZE:
            raise DenialOfServiceError("too many settings in one frame")
        if kind in BLOCK_TYPES:
            block = length + sum(len(frame.data) for frame in self._headers_buffer)
            if block > HEADER_BLOCK_SIZE:
                raise DenialOfServiceError("header block too large")

    def _take_faulty(self, kind: int, length: int) -> FaultyFrame | None:
        """Take out a frame whose error is one of its stream (RFC 9113, 6.3 and 6.9).

        For h2, every frame that it cannot parse is an error of the connection.
        """
        start, end = FRAME_HEADER_SIZE, FRAME_HEADER_SIZE + length
        stream_id = int.from_bytes(self._data[5:start], "big") & 0x7FFFFFFF
        if kind == PriorityFrame.type and length != PRIORITY_SIZE:
            error_code = ErrorCodes.FRAME_SIZE_ERROR
        elif kind == WindowUpdateFrame.type and length == WINDOW_UPDATE_SIZE:
            if int.from_bytes(self._data[start:end], "big") & 0x7FFFFFFF:
                return None
            error_code = ErrorCodes.PROTOCOL_ERROR
        else:
            return None
        if not stream_id or self._headers_buffer:
            return None
        del self._data[:end]
        return FaultyFrame(stream_id, error_code)
