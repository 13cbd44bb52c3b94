"""The frame of a `multipart/byteranges` body (RFC 9110, 14.6)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quart_app.protocol.ranges import content_range

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quart_app.models import ByteRange

__all__ = ["ByteRangesFrame", "byteranges_parts", "new_boundary"]


@dataclass(frozen=True, slots=True)
class ByteRangesFrame:
    """What surrounds the bytes of the file.

    Attributes:
        prefixes: For each part the bytes that precede it, and the range of the file it holds.
        closing: The bytes after the last part.
    """

    prefixes: tuple[tuple[bytes, ByteRange], ...]
    closing: bytes

    @property
    def content_length(self) -> int:
        """Length of the whole body in bytes."""
        return len(self.closing) + sum(len(prefix) + part.size for prefix, part in self.prefixes)


def byteranges_parts(
    ranges: Sequence[ByteRange], size: int, media_type: str, boundary: str
) -> ByteRangesFrame:
    """Build the frame; the field `multipart/byteranges; boundary=…` goes with it.

    Args:
        ranges: What the parts hold, in order.
        size: Length of the file in bytes.
        media_type: Media type of the file, valid as a header field.
        boundary: From `new_boundary`.
    """
    head = f"\r\n--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: "
    prefixes = tuple(
        (f"{head}{content_range(range_, size)}\r\n\r\n".encode("ascii"), range_)
        for range_ in ranges
    )
    return ByteRangesFrame(prefixes, f"\r\n--{boundary}--\r\n".encode("ascii"))


def new_boundary() -> str:
    """Return a boundary of 128 random bits, so that no file can be made to contain it."""
    return secrets.token_hex(16)
