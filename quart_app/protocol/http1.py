"""HTTP/1.1 with bodies past the parser, for both ends of a connection."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import h11
from h11._readers import ChunkedReader, ContentLengthReader

if TYPE_CHECKING:
    from h11._receivebuffer import ReceiveBuffer

__all__ = ["BulkConnection", "reason_phrase"]

#: A chunk extension (RFC 9112, 7.1.1), without control characters. The quantifiers are possessive,
#: so that matching takes linear time.
TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*+"'
EXTENSION = rb"[ \t]*+;[ \t]*+%b(?:[ \t]*+=[ \t]*+(?:%b|%b))?" % (TOKEN, TOKEN, QUOTED)

#: The line before a chunk. White space at its end is no part of the grammar, but some clients pad
#: sizes with it.
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,20})(?:%b)*[ \t]*\r\n" % EXTENSION)

EMPTY_LINES = re.compile(rb"(?:\r?\n)*+")

#: Reason phrases that RFC 9110 changed after this version of Python had taken them.
PHRASES = {
    413: b"Content Too Large",
    414: b"URI Too Long",
    416: b"Range Not Satisfiable",
    422: b"Unprocessable Content",
}


def reason_phrase(status: int) -> bytes:
    """Return the standard reason phrase of a status (RFC 9110, 15), or b"" if it has none."""
    try:
        return PHRASES.get(status) or HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""


class _ChunkLines:
    """The buffer of a connection, whose chunk lines are checked and stripped of extensions.

    h11 refuses white space before an extension, and takes control characters within.

    Args:
        buffer: Bytes received and not parsed.
    """

    def __init__(self, buffer: ReceiveBuffer) -> None:
        self.maybe_extract_at_most = buffer.maybe_extract_at_most
        self.maybe_extract_lines = buffer.maybe_extract_lines
        self._extract_line = buffer.maybe_extract_next_line

    def maybe_extract_next_line(self) -> bytes | None:
        """Return the size of the next chunk as a line, or None while the line is incomplete.

        Raises:
            h11.LocalProtocolError: The line is malformed.
        """
        line = self._extract_line()
        if line is None:
            return None
        match = CHUNK_LINE.fullmatch(line)
        if match is None:
            raise h11.LocalProtocolError("illegal chunk header")
        return match[1] + b"\r\n"


class _Chunks(ChunkedReader):
    """h11's reader of chunked bodies, with the grammar of `CHUNK_LINE`."""

    def __call__(self, buf: Any) -> Any:
        return super().__call__(cast("ReceiveBuffer", _ChunkLines(buf)))


class BulkConnection(h11.Connection):
    """An h11 connection that hands on the pieces of a body as they arrived.

    h11 copies every byte three times on its way through, which costs more than all the rest. It
    also refuses empty lines before a request, and reads chunk lines otherwise than RFC 9112 does.

    Attributes:
        trailers: Trailers of the message received, once it is complete.
    """

    _chunk: bytes | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.trailers: list[tuple[bytes, bytes]] = []

    def _get_io_object(self, *args: Any) -> Any:
        found = super()._get_io_object(*args)
        return _Chunks() if type(found) is ChunkedReader else found

    @property
    def they_are_waiting_for_100_continue(self) -> bool:
        """Hide it from Hypercorn, which would answer before the application can refuse."""
        return False

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the network; all events are asked for before the next call."""
        if data and self.their_state is h11.MUST_CLOSE:
            return  # nothing but their end is of interest
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
        """Return the next event, a chunk that passed the parser by first."""
        if self.their_state is h11.MUST_CLOSE and self.trailing_data[0]:
            # After "Connection: close" nothing more is processed (RFC 9112, 9.6). To h11 it is an
            # error, for which the answer to what came before would break off.
            return h11.NEED_DATA
        if self.our_role is h11.SERVER and self.their_state is h11.IDLE and self._skip_lines():
            return h11.NEED_DATA
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

    def _skip_lines(self) -> bool:
        """Pass over empty lines before a request line (RFC 9112, 2.2).

        Returns:
            Whether the line that comes next is incomplete, and may be empty.
        """
        data = self.trailing_data[0]
        if not data.startswith((b"\r", b"\n")):
            return False
        size = cast("re.Match[bytes]", EMPTY_LINES.match(data)).end()
        self._receive_buffer.maybe_extract_at_most(size)
        return data[size:] == b"\r"
