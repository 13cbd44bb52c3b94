"""Frozen values that every room above may use."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

__all__ = [
    "GIB",
    "KIB",
    "MIB",
    "ByteRange",
    "File",
    "Position",
    "from_microseconds",
    "to_microseconds",
]

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def to_microseconds(moment: datetime) -> int:
    """Give the whole microseconds since the epoch at an aware time."""
    return (moment - EPOCH) // MICROSECOND


def from_microseconds(count: int) -> datetime:
    """Give the time, UTC, at whole microseconds since the epoch.

    Raises:
        OverflowError: It is beyond the years of `datetime`.
    """
    return EPOCH + count * MICROSECOND


@dataclass(frozen=True, slots=True, order=True)
class ByteRange:
    """The bytes from `start` up to, and without, `stop`."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in the list of files; a later one comes earlier in the list.

    Attributes:
        created_at: Moment of storing, UTC.
        id: Key of the file, which orders files of one moment.
    """

    created_at: datetime
    id: str


@dataclass(frozen=True, slots=True)
class File:
    """A stored, immutable file.

    Attributes:
        id: Unguessable key, 128 random bits in 26 URL-safe characters.
        name: Display name; never a path, never a key.
        size: Length in bytes.
        media_type: Media type, as the client sent it, or guessed from the name and the first bytes.
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

    @property
    def position(self) -> Position:
        """Its place in the list of files."""
        return Position(self.created_at, self.id)
