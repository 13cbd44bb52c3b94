"""What every codec promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from quart_app.models import KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAX_RECORD_LENGTH", "OUTPUT_SIZE", "Codec"]

#: Bytes or characters of output from which a codec hands them on.
OUTPUT_SIZE = 256 * KIB

#: Characters of one record, its line feed left out: a line of JSON, or a row of CSV with all its
#: lines.
MAX_RECORD_LENGTH = 1 * MIB


class Codec(Protocol):
    """Converts one stream.

    The caller feeds all of it in order, takes all output of a call before the next call, and calls
    `finish` once. A codec that has raised is done for. The work happens while the output is taken,
    each piece of it bounded in time and in size: `OUTPUT_SIZE`, exceeded by one record at most.
    """

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Convert the next bytes, of which as much may be held back as a record has."""
        ...

    def flush(self) -> Iterator[bytes]:
        """Give what can be given before more is fed."""
        ...

    def finish(self) -> Iterator[bytes]:
        """Give what is left at the end of the stream."""
        ...
