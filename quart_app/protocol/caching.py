"""The field `Cache-Control` of answers (RFC 9111, 5.2.2)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["NO_STORE", "cache_control"]

#: For every answer but a file: no cache keeps it, not even the client's own.
NO_STORE = "no-store"

#: For a file: a cache asks the service before each use, and an unchanged file is answered 304.
NO_CACHE = "no-cache"

SECOND = timedelta(seconds=1)


def cache_control(max_age: int, expires_at: datetime | None, now: datetime) -> str:
    """Format `Cache-Control` of a stored file.

    The lifetime in a cache never extends past the expiry of the file. `must-revalidate` forbids a
    stale answer even where the cache cannot reach the service (RFC 9111, 5.2.2.2). `immutable`
    (RFC 8246) is left out: the bytes never change, but a reload must show that a file was deleted.

    Args:
        max_age: Seconds that a cache may answer without asking; 0 has it ask each time.
        expires_at: Moment from which the file is gone, or None.
        now: Current moment.

    Returns:
        The value of the field.
    """
    seconds = max_age if expires_at is None else min(max_age, (expires_at - now) // SECOND)
    return f"public, max-age={seconds}, must-revalidate" if seconds > 0 else NO_CACHE
