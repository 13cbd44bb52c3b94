"""HTTP/1.1 with bodies past the parser, for both ends of a connection."""

from __future__ import annotations

from typing import Any, cast

import h11
from h11._readers import ChunkedReader, ContentLengthReader

__all__ = ["BulkConnection"]


class BulkConnection(h11.Connection):
    """An h11 connection that hands on the pieces of a body as they arrived.

    h11 copies every byte three times on its way through, which costs more than all the rest.

    Attributes:
        trailers: Trailers of the message received, once it is complete.
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
        """Give the next event, a chunk that passed the parser by first."""
        if self.their_state is h11.MUST_CLOSE and self.trailing_data[0]:
            # After "Connection: close" nothing more is processed (RFC 9112, 9.6). To h11 it is an
            # error, for which the answer to what came before would break off.
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
