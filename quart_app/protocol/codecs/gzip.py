"""Gzip (RFC 1952), in and out."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from quart_app.errors import BadGzip
from quart_app.models import KIB
from quart_app.protocol.codecs.contract import OUTPUT_SIZE
from quart_app.protocol.codecs.expansion import ExpansionLimit

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Gunzip", "Gzip"]

#: Window bits that make zlib speak gzip and nothing else.
GZIP_BITS = 16 + zlib.MAX_WBITS

#: Bytes given to zlib at once: at the end of each member it copies what it was given too much.
SLICE_SIZE = 16 * KIB


class Gzip:
    """Compresses into one member."""

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(wbits=GZIP_BITS)
        self._flushed = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Convert the next bytes; see `Codec.feed`."""
        for start in range(0, len(data), OUTPUT_SIZE):
            yield self._compressor.compress(data[start : start + OUTPUT_SIZE])
            self._flushed = False

    def flush(self) -> Iterator[bytes]:
        """Give what zlib holds back, at the price of a few bytes; see `Codec.flush`."""
        if not self._flushed:
            yield self._compressor.flush(zlib.Z_SYNC_FLUSH)
            self._flushed = True

    def finish(self) -> Iterator[bytes]:
        """Give the rest; see `Codec.finish`."""
        yield self._compressor.flush()


class Gunzip:
    """Expands members one after another (RFC 1952, 2.2), and lets zeros pass that pad the last.

    Args:
        max_ratio: Bytes of output for each byte of input that are believed to be no bomb.
        max_size: Bytes of output in all.

    Raises:
        BadGzip: The input is no gzip, damaged or cut.
        TooExpanded: The output passes a bound.
    """

    def __init__(self, *, max_ratio: int, max_size: int) -> None:
        self._limit = ExpansionLimit(max_ratio=max_ratio, max_size=max_size)
        self._whole_members = 0
        self._member: zlib._Decompress | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Convert the next bytes; see `Codec.feed`."""
        for start in range(0, len(data), SLICE_SIZE):
            piece = data[start : start + SLICE_SIZE]
            self._limit.take(len(piece))
            yield from self._expanded(piece)

    def _expanded(self, rest: bytes) -> Iterator[bytes]:
        more = True
        while more:
            if self._member is None:
                rest = rest.lstrip(b"\0") if self._whole_members else rest
                if not rest:
                    return
                self._member = zlib.decompressobj(GZIP_BITS)
            output = self._decompressed(self._member, rest)
            if output:
                yield output
            rest = self._member.unconsumed_tail
            # zlib may have taken all of the input, and still hold output.
            more = bool(rest) or len(output) == OUTPUT_SIZE
            if self._member.eof:
                rest, more, self._member = self._member.unused_data, True, None
                self._whole_members += 1

    def _decompressed(self, member: zlib._Decompress, data: bytes) -> bytes:
        try:
            output = member.decompress(data, OUTPUT_SIZE)
        except zlib.error as error:
            raise BadGzip("The body is no gzip, or damaged.") from error
        self._limit.give(len(output))
        return output

    def flush(self) -> Iterator[bytes]:
        """Give nothing: all is given as it comes."""
        yield from ()

    def finish(self) -> Iterator[bytes]:
        """Check that the input was whole; see `Codec.finish`."""
        if self._member is not None or not self._whole_members:
            raise BadGzip("The gzip stream is cut.")
        yield from ()
