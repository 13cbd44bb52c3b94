"""The record that is kept beside the bytes of a file, so that a lost catalog can be made again."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from quart_app.models import File, from_microseconds, to_microseconds

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["dump_record", "load_record"]

MEMBERS: dict[str, type | tuple[type, ...]] = {
    "id": str,
    "name": str,
    "size": int,
    "media_type": str,
    "sha256": str,
    "created_at": int,
    "expires_at": (int, type(None)),
}


def dump_record(file: File) -> bytes:
    """Return the record of a file: one JSON object, times in microseconds since the epoch."""
    times = {"created_at": file.created_at, "expires_at": file.expires_at}
    members = asdict(file) | {name: _count(moment) for name, moment in times.items()}
    return json.dumps(members, separators=(",", ":")).encode()


def load_record(record: bytes) -> File | None:
    """Return the file that a record describes.

    Args:
        record: As `dump_record` returned it, or any bytes found in its place.

    Returns:
        The file, or None where the record is damaged.
    """
    try:
        members: dict[str, Any] = json.loads(record)
        if not all(isinstance(members[name], kind) for name, kind in MEMBERS.items()):
            return None
        times = {name: _moment(members[name]) for name in ("created_at", "expires_at")}
        return File(**{name: members[name] for name in MEMBERS} | times)
    except (ValueError, TypeError, KeyError, OverflowError):
        return None


def _count(moment: datetime | None) -> int | None:
    return None if moment is None else to_microseconds(moment)


def _moment(count: int | None) -> datetime | None:
    return None if count is None else from_microseconds(count)
