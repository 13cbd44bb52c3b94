"""Byte ranges (RFC 9110, 14)."""

from __future__ import annotations

import re

from quart_app.errors import RangeNotSatisfiable
from quart_app.models import KIB, ByteRange

__all__ = ["MAX_HEADER_SIZE", "MAX_RANGES", "content_range", "parse_ranges"]

#: Ranges that one request may ask for.
MAX_RANGES = 64
#: Characters of a `Range` field that are looked at.
MAX_HEADER_SIZE = 8 * KIB
#: Significant digits of a position that are read: more than any file can need, and far from
#: where reading a decimal number costs quadratic time.
_MAX_DIGITS = 20

_INT_RANGE = re.compile(r"([0-9]+)-([0-9]*)")
_SUFFIX_RANGE = re.compile(r"-([0-9]+)")


def parse_ranges(
    header: str | None, size: int, *, max_ranges: int = MAX_RANGES
) -> list[ByteRange] | None:
    """Read a `Range` field against a file (RFC 9110, 14.1.2 and 14.2).

    Ranges that overlap or touch become one (RFC 9110, 15.3.7.2).

    Args:
        header: The field, or None when the request has none.
        size: Length of the file in bytes.
        max_ranges: Ranges that may be asked for, counted before they are joined.

    Returns:
        Disjoint ranges inside the file in the order they were first asked for; None when the
        field is to be ignored: absent, of another unit, malformed.

    Raises:
        RangeNotSatisfiable: No range lies within the file, or the field is hostile: too long, or
            with too many ranges (RFC 9110, 14.2 and 17.15).
    """
    unit, _, range_set = (header or "").partition("=")
    if unit.lower() != "bytes":
        return None
    if len(range_set) > MAX_HEADER_SIZE:
        raise RangeNotSatisfiable(size)
    specs = [spec for part in range_set.split(",") if (spec := part.strip(" \t"))]
    try:
        ranges = [_resolve(spec, size) for spec in specs]
    except ValueError:
        return None
    satisfiable = [range_ for range_ in ranges if range_.size]
    if ranges and (not satisfiable or len(ranges) > max_ranges):
        raise RangeNotSatisfiable(size)
    return _joined(satisfiable) or None


def content_range(range_: ByteRange, size: int) -> str:
    """Format a `Content-Range` field, as in `bytes 0-4/10` (RFC 9110, 14.4)."""
    return f"bytes {range_.start}-{range_.stop - 1}/{size}"


def _resolve(spec: str, size: int) -> ByteRange:
    """Clamp one range to the file; an empty one is unsatisfiable. ValueError: ignore the field."""
    if suffix := _SUFFIX_RANGE.fullmatch(spec):
        length = _number(suffix[1])
        if length and not size:
            # Satisfiable (14.1.2), but no `Content-Range` can say that all of nothing is sent.
            raise ValueError(spec)
        return ByteRange(max(size - length, 0), size)
    bounds = _INT_RANGE.fullmatch(spec)
    if bounds is None:
        raise ValueError(spec)
    first, last = _number(bounds[1]), _number(bounds[2]) if bounds[2] else None
    if last is not None and last < first:
        raise ValueError(spec)
    return ByteRange(min(first, size), size if last is None else min(last + 1, size))


def _number(digits: str) -> int:
    return int(digits.lstrip("0")[:_MAX_DIGITS] or "0")


def _joined(ranges: list[ByteRange]) -> list[ByteRange]:
    covers: list[ByteRange] = []
    for range_ in sorted(ranges):
        if covers and range_.start <= covers[-1].stop:
            covers[-1] = ByteRange(covers[-1].start, max(covers[-1].stop, range_.stop))
        else:
            covers.append(range_)

    def first_asked(cover: ByteRange) -> int:
        return next(
            at for at, range_ in enumerate(ranges) if cover.start <= range_.start < cover.stop
        )

    return sorted(covers, key=first_asked)
