"""Lines of text, however it is cut."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quart_app.errors import NotText
from quart_app.protocol.text import LineCounter, TextDecoder, spreadsheet_cell


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


def decoded(data: bytes, step: int) -> str:
    decoder = TextDecoder()
    chunks = [data[start : start + step] for start in range(0, len(data), step)]
    return "".join(map(decoder.decode, chunks)) + decoder.decode(b"", final=True)


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
class TestDecoder:
    @pytest.mark.parametrize(
        ("data", "text"),
        [
            (b"", ""),
            (b"a", "a"),
            (b"\xef\xbb\xbf", ""),
            (b"\xef\xbb\xbfa\xef\xbb\xbf", "a\ufeff"),
            (b"\xef\xbb\xbf\xef\xbb\xbfa", "\ufeffa"),
            ("é€😀".encode(), "é€😀"),
            (b"\xef\xbc\x81", "\uff01"),
        ],
    )
    def test_mark_at_the_beginning_is_left_out(self, data: bytes, text: str, step: int) -> None:
        assert decoded(data, step) == text

    @pytest.mark.parametrize("data", [b"\xef", b"\xef\xbb", b"a\xef\xbb", b"\xff", b"\xef\xbba"])
    def test_no_text(self, data: bytes, step: int) -> None:
        with pytest.raises(NotText):
            decoded(data, step)


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-2+3+cmd|' /C calc'!A0", "'-2+3+cmd|' /C calc'!A0"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("\n=1", "'\n=1"),
        ("＝1", "'＝1"),
        ("'quoted'", "''quoted'"),
        ("a;=1;b;-2", "a;'=1;b;'-2"),
        # No formulas.
        ("", ""),
        ("a=1.txt", "a=1.txt"),
        ("a-b+c@d", "a-b+c@d"),
        ("a; =b", "a; =b"),
        ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
    ],
)
def test_cells_that_spreadsheets_would_run(text: str, cell: str) -> None:
    assert spreadsheet_cell(text) == cell


@given(st.text("a;='-@ \t\n＋"))
def test_escaped_cells_read_back(text: str) -> None:
    assert re.sub("(^|;)'", r"\1", spreadsheet_cell(text)) == text
