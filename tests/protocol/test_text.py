"""Lines of text, however it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quart_app.protocol.text import LineCounter


def counted(*chunks: bytes) -> int | None:
    counter = LineCounter()
    for chunk in chunks:
        counter.feed(chunk)
    return counter.finish()


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", 0),
        (b"a", 1),
        (b"a\n", 1),
        (b"a\nb", 2),
        (b"\n\n", 2),
        (b"a\r\nb\r\n", 2),
        ("é\u2028€\n😀".encode(), 2),
        (b"a\n\xff", None),
        (b"\xff\na", None),
        (b"a\n\xe2\x82", None),
    ],
)
def test_table(data: bytes, lines: int | None) -> None:
    assert counted(data) == lines
    assert counted(*(data[i : i + 1] for i in range(len(data)))) == lines


@given(st.text(alphabet="a\né€😀"), st.integers(0, 20), st.integers(0, 20))
def test_cuts_do_not_matter(text: str, first: int, second: int) -> None:
    data = text.encode()
    first, second = sorted((first, second))
    found = counted(data[:first], b"", data[first:second], data[second:])
    assert found == text.count("\n") + (text[-1:] not in {"", "\n"})
