"""A bound on how much may come out of how little."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from quart_app.errors import TooExpanded
from quart_app.models import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quart_app.protocol.codecs.contract import Codec

__all__ = ["FREE_OUTPUT_SIZE", "Bounded", "ExpansionLimit"]

#: Bytes of output to which the ratio does not apply: a table of zeros is no attack.
FREE_OUTPUT_SIZE = 16 * MIB


class ExpansionLimit:
    """Compares what a stream has given with what it has taken.

    Args:
        max_ratio: Bytes of output for each byte of input that are believed to be no bomb.
        max_size: Bytes of output in all.
    """

    def __init__(self, *, max_ratio: int, max_size: int = sys.maxsize) -> None:
        self._max_ratio = max_ratio
        self._max_size = max_size
        self._taken = 0
        self._given = 0

    def take(self, size: int) -> None:
        """Count bytes of input."""
        self._taken += size

    def give(self, size: int) -> None:
        """Count bytes of output, before they are handed on.

        Raises:
            TooExpanded: They pass a bound.
        """
        self._given += size
        if self._given > self._max_size:
            raise TooExpanded(f"The limit is {self._max_size} bytes.")
        if self._given > max(FREE_OUTPUT_SIZE, self._taken * self._max_ratio):
            raise TooExpanded(f"It has more than {self._max_ratio} times the bytes of the body.")


class Bounded:
    """A codec whose output is bounded.

    Args:
        codec: Converts.
        limit: Bounds this one stream.

    Raises:
        TooExpanded: The output passes the limit; besides, what the codec raises.
    """

    def __init__(self, codec: Codec, limit: ExpansionLimit) -> None:
        self._codec = codec
        self._limit = limit

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Convert the next bytes; see `Codec.feed`."""
        self._limit.take(len(data))
        return self._counted(self._codec.feed(data))

    def flush(self) -> Iterator[bytes]:
        """Give what can be given; see `Codec.flush`."""
        return self._counted(self._codec.flush())

    def finish(self) -> Iterator[bytes]:
        """Give what is left; see `Codec.finish`."""
        return self._counted(self._codec.finish())

    def _counted(self, outputs: Iterator[bytes]) -> Iterator[bytes]:
        for output in outputs:
            self._limit.give(len(output))
            yield output
