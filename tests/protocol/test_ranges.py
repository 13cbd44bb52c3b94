from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quart_app.errors import RangeNotSatisfiable
from quart_app.models import ByteRange
from quart_app.protocol.ranges import (
    MAX_HEADER_SIZE,
    MAX_RANGES,
    MAX_TANGLED_RANGES,
    content_range,
    parse_ranges,
)

BIG = "9" * 5000


@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        ("bytes=0-4", 10, [(0, 5)]),
        ("BYTES=0-0", 10, [(0, 1)]),
        ("bytes=5-", 10, [(5, 10)]),
        ("bytes=-3", 10, [(7, 10)]),
        ("bytes=-500", 10, [(0, 10)]),
        ("bytes=9-500", 10, [(9, 10)]),
        (f"bytes=9-{BIG}", 10, [(9, 10)]),
        (f"bytes=-{BIG}", 10, [(0, 10)]),
        ("bytes=" + "0" * 4000 + "5-", 10, [(5, 10)]),
        ("bytes=0-0,-1", 10, [(0, 1), (9, 10)]),
        ("bytes= 0-0 ,\t2-2", 10, [(0, 1), (2, 3)]),
        ("bytes=,0-0,,", 10, [(0, 1)]),
        ("bytes=99-,0-0,-0", 10, [(0, 1)]),
        ("bytes=8-8,0-1,4-5", 10, [(8, 9), (0, 2), (4, 6)]),
        ("bytes=6-7,0-3,2-5", 10, [(0, 8)]),
        ("bytes=8-8,4-5,0-4", 10, [(8, 9), (0, 6)]),
        ("bytes=0-4,5-9", 10, [(0, 10)]),
        ("bytes=" + "0-0," * 64, 10, [(0, 1)]),
        # Of the tables of Go and nginx.
        ("bytes=-2 , 7-", 11, [(7, 11)]),
        ("bytes=0-0 ,2-2, 7-", 11, [(0, 1), (2, 3), (7, 11)]),
        ("bytes=15-,0-5", 10, [(0, 6)]),
        ("bytes=500-600,601-999", 10000, [(500, 1000)]),
        ("bytes=500-700,601-999", 10000, [(500, 1000)]),
        ("bytes=0-,1-,2-,3-,4-", 10, [(0, 10)]),
        ("bytes=-3,0-1", 2, [(0, 2)]),
    ],
)
def test_satisfiable(header: str, size: int, expected: list[tuple[int, int]]) -> None:
    assert parse_ranges(header, size) == [ByteRange(*bounds) for bounds in expected]


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=a-b",
        "bytes=4",
        "bytes=4-2",
        "bytes=0-0,4-2",
        "bytes=0-0,x",
        "bytes=99-98",
        "bytes=--5",
        "bytes=1-2-3",
        "bytes=+1-2",
        "bytes=0x1-2",
        "bytes=1_0-20",
        "bytes=٠-٤",
        "bytes =0-4",
        "bytes = 0-4",
        "bytes=0 - 4",
        "items=0-4",
        f"items={BIG}-{BIG}",
        "items=" + "0-0," * 5000,
        # Of the tables of Go, and of bugs of Starlette's.
        "bytes=5-4",
        "bytes=0-1,5-4",
        "bytes=0--1",
        "bytes=0-2,5-4",
        "bytes=2-5,4-3",
        "bytes=--5,4--3",
        "bytes= , , ,   ",
        "bytes=Ran-dom, garbage",
        # Too many, or too long.
        "bytes=" + ",".join(f"{n}-{n}" for n in range(MAX_RANGES + 1)),
        "bytes=" + "99-," * (MAX_RANGES + 1),
        "bytes=" + "0-0," * (MAX_TANGLED_RANGES + 1),
        "bytes=0-" + "9" * MAX_HEADER_SIZE,
    ],
)
def test_ignored(header: str | None) -> None:
    assert parse_ranges(header, 10) is None


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ("bytes=10-", 10),
        ("bytes=10-20", 10),
        ("bytes=-0", 10),
        ("bytes=-0,10-", 10),
        (f"bytes={BIG}-", 10),
        ("bytes=" + "99-," * MAX_RANGES, 10),
    ],
)
def test_not_satisfiable(header: str, size: int) -> None:
    with pytest.raises(RangeNotSatisfiable) as caught:
        parse_ranges(header, size)
    assert caught.value.size == size


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-0", "bytes=5-9", "bytes=-5", "bytes=-0"])
def test_any_range_of_an_empty_file_is_the_whole_file(header: str) -> None:
    assert parse_ranges(header, 0) is None


class TestCaps:
    """Ranges in ascending order have one of their own: zchunk's client asks for so many."""

    def ascending(self, count: int) -> list[ByteRange]:
        return [ByteRange(n * 1000, n * 1000 + 500) for n in range(count)]

    def parsed(self, ranges: list[ByteRange]) -> list[ByteRange] | None:
        field = ",".join(f"{range_.start}-{range_.stop - 1}" for range_ in ranges)
        return parse_ranges(f"bytes={field}", 1_000_000)

    def test_ascending(self) -> None:
        ranges = self.ascending(MAX_RANGES)
        assert self.parsed(ranges) == ranges
        assert self.parsed(self.ascending(MAX_RANGES + 1)) is None

    def test_touching(self) -> None:
        ranges = [ByteRange(n, n + 1) for n in range(MAX_RANGES)]
        assert self.parsed(ranges) == [ByteRange(0, MAX_RANGES)]

    def test_large_positions_fit(self) -> None:
        """In a file of terabytes, 256 ranges take the most characters."""
        first = 9 * 10**12
        field = ",".join(f"{first + n * 1000}-{first + n * 1000 + 500}" for n in range(MAX_RANGES))
        ranges = parse_ranges(f"bytes={field}", 10**13)
        assert ranges is not None
        assert len(ranges) == MAX_RANGES

    def test_out_of_order(self) -> None:
        ranges = self.ascending(MAX_TANGLED_RANGES)[::-1]
        assert self.parsed(ranges) == ranges
        assert self.parsed(self.ascending(MAX_TANGLED_RANGES + 1)[::-1]) is None

    def test_overlapping(self) -> None:
        ranges = [ByteRange(n, n + 2) for n in range(MAX_TANGLED_RANGES)]
        assert self.parsed(ranges) == [ByteRange(0, MAX_TANGLED_RANGES + 1)]
        assert self.parsed([*ranges, ByteRange(5, 6)]) is None

    def test_counted_before_they_are_joined(self) -> None:
        assert self.parsed([ByteRange(n, n + 1) for n in range(MAX_RANGES + 1)]) is None


def test_hostile_headers_cost_no_time() -> None:
    started = time.process_time()
    for header in ("bytes=" + "9" * 10_000_000, "bytes=" + "0-0," * 2_000_000):
        assert parse_ranges(header, 10) is None
    # To find the first of each joined range by a search took a quadratic time (CVE-2025-62727).
    many = "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 2 * MAX_RANGES, 2))
    for _ in range(20):
        assert len(parse_ranges(many, 1000) or ()) == MAX_RANGES
    assert time.process_time() - started < 0.5


def test_content_range() -> None:
    assert content_range(ByteRange(0, 5), 10) == "bytes 0-4/10"


SIZES = st.integers(0, 60)
POSITIONS = st.integers(0, 80)
SPECS = st.one_of(
    st.tuples(POSITIONS, POSITIONS).map(sorted).map(lambda ends: f"{ends[0]}-{ends[1]}"),
    POSITIONS.map("{}-".format),
    POSITIONS.map("-{}".format),
)


def covered(spec: str, size: int) -> range:
    """Give the positions that a range names, the naive way."""
    first, _, last = spec.partition("-")
    if not first:
        return range(max(0, size - int(last)), size)
    return range(int(first), min(size, int(last) + 1 if last else size))


@given(st.lists(SPECS, min_size=1, max_size=8), st.integers(1, 60))
def test_ranges_cover_what_was_asked_for(specs: list[str], size: int) -> None:
    wanted = [positions for spec in specs if (positions := covered(spec, size))]
    try:
        ranges = parse_ranges("bytes=" + ",".join(specs), size)
    except RangeNotSatisfiable:
        ranges = []
    assert ranges is not None
    assert {at for range_ in ranges for at in range(range_.start, range_.stop)} == {
        at for positions in wanted for at in positions
    }
    ordered = sorted(ranges)
    assert all(one.stop < other.start for one, other in pairwise(ordered))
    first_asked = [
        min(i for i, positions in enumerate(wanted) if positions[0] in range(r.start, r.stop))
        for r in ranges
    ]
    assert first_asked == sorted(first_asked)


@given(st.text(alphabet="bytes=0123456789-, \t", max_size=40), SIZES)
def test_any_header_is_read_ignored_or_refused(text: str, size: int) -> None:
    for header in (text, f"bytes={text}"):
        try:
            ranges = parse_ranges(header, size)
        except RangeNotSatisfiable:
            continue
        assert ranges is None or (ranges and all(0 <= r.start < r.stop <= size for r in ranges))
