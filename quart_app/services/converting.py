"""Streams converted while they arrive, at the pace of whoever takes the output."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quart_app.errors import NotFound
from quart_app.models import KIB
from quart_app.protocol.codecs import (
    Bounded,
    CsvToNdjson,
    ExpansionLimit,
    Gunzip,
    Gzip,
    NdjsonToCsv,
)
from quart_app.streaming import Digests, bursts, computed, gathered, held_back

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator

    from quart_app.protocol.codecs import Codec

__all__ = ["Conversion", "Converting", "measured"]

#: Bytes converted at once: some milliseconds of work.
INPUT_SIZE = 256 * KIB

#: Seconds without input after which everything held back is given.
QUIET_TIME = 0.25

#: Bytes of the first output that are held back at most.
HELD_SIZE = 256 * KIB


@dataclass(frozen=True, slots=True)
class Conversion:
    """A way to convert streams.

    Attributes:
        media_type: What comes out.
        codec: Makes a codec for one stream.
    """

    media_type: str
    codec: Callable[[], Codec]

    def converted(self, chunks: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
        """Convert a stream.

        The first output is held back for a moment: where a short body turns out to be wrong at its
        end, the error comes in place of output.

        Args:
            chunks: The input.

        Raises:
            BodyError: As the chunks and the codec raise.
        """
        return held_back(self._outputs(chunks), size=HELD_SIZE, hold_time=QUIET_TIME)

    async def _outputs(self, chunks: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
        """Convert a stream; an empty output tells that no more comes for the moment."""
        codec = self.codec()
        pieces = bursts(chunks, size=INPUT_SIZE, quiet_time=QUIET_TIME)
        async with aclosing(pieces):
            async for piece in pieces:
                converting = codec.feed(b"".join(piece)) if piece else codec.flush()
                while (output := await computed(_some, converting)) is not None:
                    yield output
                if not piece:
                    yield b""
        ending = codec.finish()
        while (output := await computed(_some, ending)) is not None:
            yield output


def _some(outputs: Iterator[bytes]) -> bytes | None:
    return next(filter(None, outputs), None)


class Converting:
    """Knows the conversions.

    Args:
        max_ratio: Bytes of output for each byte of input that are believed to be no bomb.
        max_size: Most bytes of output of an expansion.
    """

    def __init__(self, *, max_ratio: int, max_size: int) -> None:
        def bounded(codec: Callable[[], Codec]) -> Callable[[], Codec]:
            return lambda: Bounded(codec(), ExpansionLimit(max_ratio=max_ratio))

        self._conversions = {
            "gzip": Conversion("application/gzip", Gzip),
            "gunzip": Conversion(
                "application/octet-stream", lambda: Gunzip(max_ratio=max_ratio, max_size=max_size)
            ),
            "csv-to-ndjson": Conversion("application/x-ndjson", bounded(CsvToNdjson)),
            "ndjson-to-csv": Conversion("text/csv; charset=utf-8", bounded(NdjsonToCsv)),
        }

    def by_name(self, name: str) -> Conversion:
        """Find a conversion.

        Raises:
            NotFound: There is none of this name.
        """
        if name not in self._conversions:
            raise NotFound(f"The codecs are {', '.join(self._conversions)}.")
        return self._conversions[name]


async def measured(chunks: AsyncIterable[bytes]) -> tuple[int, str]:
    """Take a stream to its end.

    Args:
        chunks: Bytes that are counted, hashed and dropped.

    Returns:
        Its length in bytes, and its SHA-256 in hexadecimal digits.
    """
    digests = Digests("sha-256")
    async with aclosing(gathered(chunks)) as pieces, aclosing(digests.watch(pieces)) as watched:
        async for _ in watched:
            pass
    return digests.size, digests.digest("sha-256").hex()
