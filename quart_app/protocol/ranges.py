"""Byte ranges (RFC 9110, 14)."""

from __future__ import annotations

import re
from itertools import pairwise

from quart_app.errors import RangeNotSatisfiable
from quart_app.models import KIB, ByteRange

__all__ = ["MAX_HEADER_SIZE", "MAX_RANGES", "MAX_TANGLED_RANGES", "content_range", "parse_ranges"]

#: Ranges that one request may ask for, in ascending order and without overlap. Clients that
#: assemble a file of known chunks, such as zchunk's, ask for up to 256 at once.
MAX_RANGES = 256
#: Ranges that one request may ask for if some overlap or are out of order. Joined, they cost no
#: more than the file once. More of them are a sign of an attack (CVE-2011-3192; RFC 9110, 17.15).
MAX_TANGLED_RANGES = 64
#: Characters of a `Range` field that are looked at.
MAX_HEADER_SIZE = 8 * KIB
#: Significant digits of a position that are read: more than any file can need, and far from
#: where reading a decimal number costs quadratic time.
_MAX_DIGITS = 20

_INT_RANGE = re.compile(r"([0-9]+)-([0-9]*)")
_SUFFIX_RANGE = re.compile(r"-([0-9]+)")


def parse_ranges(header: str | None, size: int) -> list[ByteRange] | None:
    """Read a `Range` field against a file (RFC 9110, 14.1.2 and 14.2).

    Ranges that overlap or touch become one (RFC 9110, 15.3.7.2). A field that asks for too much is
    ignored, as RFC 9110, 14.2 allows: clients reduce the number of ranges after a 200, and take a
    416 for the end of the file. Any range of an empty file is ignored too: `Content-Range` cannot
    express it, and caches that fetch a file in slices take a 416 for a failure.

    Args:
        header: The field, or None when the request has none.
        size: Length of the file in bytes.

    Returns:
        Disjoint ranges inside the file in the order they were first asked for; None when the
        field is to be ignored: absent, of another unit, malformed, too long, with too many
        ranges, or for an empty file.

    Raises:
        RangeNotSatisfiable: No range lies within the file.
    """
    unit, _, range_set = (header or "").partition("=")
    if unit.lower() != "bytes" or len(range_set) > MAX_HEADER_SIZE or not size:
        return None
    specs = [spec for part in range_set.split(",") if (spec := part.strip(" \t"))]
    if not 0 < len(specs) <= MAX_RANGES:
        return None
    try:
        ranges = [_resolve(spec, size) for spec in specs]
    except ValueError:
        return None
    if len(ranges) > MAX_TANGLED_RANGES and not _ascending(ranges):
        return None
    satisfiable = [range_ for range_ in ranges if range_.size]
    if not satisfiable:
        raise RangeNotSatisfiable(size)
    return _joined(satisfiable)


def content_range(range_: ByteRange, size: int) -> str:
    """Format a `Content-Range` field, as in `bytes 0-4/10` (RFC 9110, 14.4)."""
    return f"bytes {range_.start}-{range_.stop - 1}/{size}"


def _resolve(spec: str, size: int) -> ByteRange:
    """Clamp one range to the file; an empty one is unsatisfiable. ValueError: ignore the field."""
    if suffix := _SUFFIX_RANGE.fullmatch(spec):
        return ByteRange(max(size - _number(suffix[1]), 0), size)
    bounds = _INT_RANGE.fullmatch(spec)
    if bounds is None:
        raise ValueError(spec)
    first, last = _number(bounds[1]), _number(bounds[2]) if bounds[2] else None
    if last is not None and last < first:
        raise ValueError(spec)
    return ByteRange(min(first, size), size if last is None else min(last + 1, size))


def _number(digits: str) -> int:
    return int(digits.lstrip("0")[:_MAX_DIGITS] or "0")


def _ascending(ranges: list[ByteRange]) -> bool:
    return all(one.stop <= other.start for one, other in pairwise(ranges))


def _joined(ranges: list[ByteRange]) -> list[ByteRange]:
    """Join ranges in the time that sorting takes; each keeps the place of its first part."""
    covers: list[tuple[int, ByteRange]] = []
    for range_, place in sorted((range_, place) for place, range_ in enumerate(ranges)):
        if covers and range_.start <= covers[-1][1].stop:
            first, cover = covers[-1]
            joined = ByteRange(cover.start, max(cover.stop, range_.stop))
            covers[-1] = min(first, place), joined
        else:
            covers.append((place, range_))
    return [cover for _, cover in sorted(covers)]
