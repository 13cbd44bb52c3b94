"""Frozen values that every room above may use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["GIB", "KIB", "MIB", "ByteRange", "File"]

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True, order=True)
class ByteRange:
    """The bytes from `start` up to, and without, `stop`."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class File:
    """A stored, immutable file.

    Attributes:
        id: Unguessable key, 128 random bits in 26 URL-safe characters.
        name: Display name; never a path, never a key.
        size: Length in bytes.
        media_type: Media type, as the client sent it or guessed from the name.
        sha256: SHA-256 of the bytes, 64 hexadecimal digits.
        created_at: Moment of storing, UTC, in whole microseconds.
        expires_at: Moment from which the file is gone, UTC, or None.
    """

    id: str
    name: str
    size: int
    media_type: str
    sha256: str
    created_at: datetime
    expires_at: datetime | None = None
