from __future__ import annotations

import time
import tracemalloc
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multipart import MultipartError

from quart_app.errors import BadForm, FormTooComplex
from quart_app.models import KIB, MIB
from quart_app.protocol.multipart import FormLimits, FormParser, PartEnd, PartHeader, boundary_of

BOUNDARY = "----b0undary"
DELIMITER = f"--{BOUNDARY}".encode()
END = DELIMITER + b"--\r\n"


@dataclass
class Part:
    header: PartHeader
    content: bytes = b""
    ended: bool = False


@dataclass
class Reader:
    """Checks the order of events while it collects them."""

    limits: FormLimits | None = None
    parts: list[Part] = field(default_factory=list)

    def read(self, *pieces: bytes) -> list[Part]:
        parser = FormParser(BOUNDARY, self.limits)
        for piece in pieces:
            for event in parser.feed(piece):
                if isinstance(event, PartHeader):
                    assert all(part.ended for part in self.parts)
                    self.parts.append(Part(event))
                elif isinstance(event, PartEnd):
                    assert not self.parts[-1].ended
                    self.parts[-1].ended = True
                else:
                    assert event
                    assert not self.parts[-1].ended
                    self.parts[-1].content += event
        parser.finish()
        assert all(part.ended for part in self.parts)
        return self.parts


def part(
    content: bytes = b"", disposition: str = 'form-data; name="a"', *fields: str, name: str = ""
) -> bytes:
    if name:
        disposition = f'form-data; name="{name}"'
    lines = [f"Content-Disposition: {disposition}", *fields, "", ""]
    return DELIMITER + b"\r\n" + "\r\n".join(lines).encode() + content + b"\r\n"


def contents(*pieces: bytes, limits: FormLimits | None = None) -> list[tuple[str, bytes]]:
    return [(part.header.name, part.content) for part in Reader(limits).read(*pieces)]


ONE = part(b"1")


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", "abc"),
        ("Multipart/Form-Data;BOUNDARY=abc", "abc"),
        ('multipart/form-data; charset=utf-8; boundary="a b:c"', "a b:c"),
        ("multipart/form-data; boundary=----WebKitFormBoundaryAbC", "----WebKitFormBoundaryAbC"),
        ("multipart/form-data; boundary=a:b=c", "a:b=c"),
        ("multipart/form-data; boundary=" + "a" * 70, "a" * 70),
    ],
)
def test_boundaries(content_type: str, boundary: str) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain; boundary=abc",
        "multipart/mixed; boundary=abc",
        "multipart/form-data",
        "multipart/form-data; boundary",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        'multipart/form-data; boundary="a "',
        'multipart/form-data; boundary="a\nb"',
        "multipart/form-data; boundary=é",
        "multipart/form-data; boundary=a@b",
        "multipart/form-data; boundary=" + "a" * 71,
    ],
)
def test_bad_boundaries(content_type: str) -> None:
    with pytest.raises(BadForm):
        boundary_of(content_type)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (END, []),
        (b"\r\n" + END, []),
        (ONE + END, [("a", b"1")]),
        (ONE + END[:-2], [("a", b"1")]),
        (b"\r\n\r\n" + ONE + END + b"\r\n \t\n", [("a", b"1")]),
        (ONE + END[:-2] + b"  \r\n", [("a", b"1")]),
        (part(b"") + part(b"\r\n\r\n", name="b") + END, [("a", b""), ("b", b"\r\n\r\n")]),
        (part(b"\r\n--" + DELIMITER[:-1]) + END, [("a", b"\r\n--" + DELIMITER[:-1])]),
    ],
)
def test_forms(body: bytes, expected: list[tuple[str, bytes]]) -> None:
    assert contents(body) == expected
    assert contents(*(body[at : at + 1] for at in range(len(body)))) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\r\n",
        b"junk",
        b"junk\r\n" + ONE + END,
        b" " + ONE + END,
        END + b"junk",
        END + b"\x00",
        ONE + END + b"junk",
        ONE + END[:-2] + b"junk\r\n",
        ONE + END + ONE + END,
        ONE + END + END,
        ONE,
        ONE[:-2],
        ONE + END[:-3],
        ONE + DELIMITER + b"xx\r\n",
        ONE + DELIMITER + b"\n" + ONE,
        ONE.replace(b"\r\n", b"\n") + END,
        DELIMITER + b"\r\n\r\nno header\r\n" + END,
        DELIMITER + b"\r\nContent-Type: text/plain\r\n\r\nx\r\n" + END,
        DELIMITER + b"\r\nno colon\r\n\r\nx\r\n" + END,
        DELIMITER + b"\r\n: no name\r\n\r\nx\r\n" + END,
        DELIMITER + b"\r\n" + END,
        part(b"x", "form-data") + END,
        part(b"x", 'attachment; name="a"') + END,
        part(b"x", 'form-data; name="a"', " folded: line") + END,
        part(b"x", 'form-data; name="a"', "Content-Length: 2") + END,
        part(b"x", 'form-data; name="a"', "Content-Length: 0") + END,
        part(b"x", 'form-data; name="a"', "Content-Length: " + "9" * 5000) + END,
        part(b"x").replace(b'"a"', b'"\xff"') + END,
    ],
)
def test_bad_forms(body: bytes) -> None:
    with pytest.raises(BadForm):
        contents(body)
    with pytest.raises(BadForm):
        contents(*(body[at : at + 1] for at in range(len(body))))


def test_empty_pieces_mean_nothing() -> None:
    assert contents(b"", ONE[:9], b"", ONE[9:20], b"", ONE[20:] + END, b"") == [("a", b"1")]


def test_the_librarys_error_is_the_cause_and_not_the_text() -> None:
    with pytest.raises(BadForm) as caught:
        contents(ONE + DELIMITER + b"xx")
    assert isinstance(caught.value.__cause__, MultipartError)
    assert str(caught.value.__cause__) not in caught.value.detail


@pytest.mark.parametrize(
    ("disposition", "name", "filename"),
    [
        ('form-data; name="a"', "a", None),
        ('form-data; name="a"; filename="b.txt"', "a", "b.txt"),
        ('form-data; name="a"; filename=""', "a", ""),
        ("form-data; name=a; filename=b.txt", "a", "b.txt"),
        ('form-data; name="é"; filename="日本.txt"', "é", "日本.txt"),
        ('form-data; name="a%22b"; filename="c%22d"', 'a"b', 'c"d'),
        ('form-data; name="a"; filename="C:\\dir\\b.txt"', "a", "b.txt"),
        ('form-data; name="a"; filename="b"; filename*=UTF-8\'\'%E2%82%AC', "a", "€"),
        ("form-data; name=\"a\"; filename*=UTF-8''%E2%82%AC", "a", "€"),
        ('form-data; name="a"; filename="b"; filename*=UTF-8\'\'%FF', "a", "b"),
        ('form-data; name="a; filename=evil"', "a; filename=evil", None),
    ],
)
def test_part_headers(disposition: str, name: str, filename: str | None) -> None:
    [read] = Reader().read(part(b"", disposition) + END)
    assert (read.header.name, read.header.filename) == (name, filename)
    assert read.header.media_type is None


def test_other_header_fields() -> None:
    fields = ("content-type: text/plain; charset=utf-8", "CONTENT-DIGEST: sha-256=:YQ==:")
    [read] = Reader().read(part(b"x", 'form-data; name="a"', *fields) + END)
    assert read.header.media_type == "text/plain; charset=utf-8"
    assert read.header.headers == {
        "Content-Disposition": 'form-data; name="a"',
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Digest": "sha-256=:YQ==:",
    }


LIMITS = FormLimits(
    max_parts=3, max_headers=2, max_header_size=100, max_field_size=40, max_fields_size=60
)
FILE = 'form-data; name="a"; filename="f"'


@pytest.mark.parametrize(
    "body",
    [
        ONE * 3,
        part(b"x", 'form-data; name="a"', "X: 1"),
        part(b"x", 'form-data; name="a"', "X: " + "y" * 97),
        part(b"x" * 39),
        part(b"x" * 39) + part(b"x" * 19),
        part(b"x" * 39) + part(b"x" * 1000, FILE) + part(b"x" * 19),
    ],
)
def test_within_limits(body: bytes) -> None:
    assert contents(body + END, limits=LIMITS)


@pytest.mark.parametrize(
    "body",
    [
        ONE * 4,
        part(b"x", 'form-data; name="a"', "X: 1", "Y: 1"),
        part(b"x", 'form-data; name="a"', "X: " + "y" * 98),
        part(b"x" * 40),
        part(b"", name="x" * 41),
        part(b"x" * 39) + part(b"x" * 20),
        part(b"x" * 39) + part(b"x" * 1000, FILE) + part(b"x" * 20),
        part(b"", name="é" * 16) + part(b"", name="é" * 15),
    ],
)
def test_beyond_limits(body: bytes) -> None:
    with pytest.raises(FormTooComplex):
        contents(body + END, limits=LIMITS)
    with pytest.raises(FormTooComplex):
        contents(*(body[at : at + 7] for at in range(0, len(body), 7)), END, limits=LIMITS)


TEXT = st.text(alphabet="ab é;=.", min_size=1, max_size=8)
CONTENT = st.one_of(
    st.binary(max_size=60),
    st.lists(
        st.sampled_from(
            [b"\r", b"\n", b"\r\n", b"--", b"-", b"x", DELIMITER[:-1], BOUNDARY.encode()]
        )
    ).map(b"".join),
).filter(lambda content: b"\r\n" + DELIMITER not in b"\r\n" + content)
PARTS = st.lists(st.tuples(TEXT, st.none() | TEXT, CONTENT), max_size=4)


def encoded(parts: list[tuple[str, str | None, bytes]]) -> bytes:
    return b"".join(
        part(content, f'form-data; name="{name}"' + (f'; filename="{file}"' if file else ""))
        for name, file, content in parts
    )


def cut(body: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({at % (len(body) + 1) for at in cuts} | {0, len(body)})
    return [body[start:stop] for start, stop in pairwise(ends)]


@given(
    PARTS,
    st.lists(st.integers(0, 5000), max_size=12),
    st.sampled_from([b"", b"\r\n", b"\r\n\r\n"]),
    st.sampled_from([b"", b"\r\n", b" \t\r\n\r\n"]),
)
def test_any_cut_gives_the_same_parts(
    parts: list[tuple[str, str | None, bytes]], cuts: list[int], preamble: bytes, epilogue: bytes
) -> None:
    body = preamble + encoded(parts) + DELIMITER + b"--" + epilogue
    read = Reader().read(*cut(body, cuts))
    assert [(one.header.name, one.header.filename, one.content) for one in read] == parts


@given(PARTS, st.lists(st.integers(0, 5000), max_size=4), st.integers(0, 5000))
def test_any_truncation_is_refused(
    parts: list[tuple[str, str | None, bytes]], cuts: list[int], stop: int
) -> None:
    body = encoded(parts) + DELIMITER + b"--"
    with pytest.raises(BadForm):
        Reader().read(*cut(body[: stop % len(body)], cuts))


@given(PARTS, st.lists(st.integers(0, 5000), max_size=4), st.binary(min_size=1, max_size=20))
def test_any_junk_after_the_end_is_refused(
    parts: list[tuple[str, str | None, bytes]], cuts: list[int], junk: bytes
) -> None:
    body = encoded(parts) + END + junk
    if not junk.strip():
        assert len(Reader().read(*cut(body, cuts))) == len(parts)
        return
    with pytest.raises(BadForm):
        Reader().read(*cut(body, cuts))


@given(PARTS, st.lists(st.integers(0, 5000), max_size=4), st.data())
@settings(max_examples=200)
def test_any_damage_is_read_or_refused(
    parts: list[tuple[str, str | None, bytes]], cuts: list[int], data: st.DataObject
) -> None:
    body = bytearray(encoded(parts) + END)
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    whole, pieces = (outcome(*way) for way in ([bytes(body)], cut(bytes(body), cuts)))
    assert whole == pieces


def outcome(*pieces: bytes) -> list[tuple[str, bytes]] | type[Exception]:
    try:
        return contents(*pieces)
    except (BadForm, FormTooComplex) as error:
        return type(error)


@pytest.mark.parametrize(
    ("start", "piece", "error"),
    [
        (b"", b"\r\n" * 32 * KIB, BadForm),
        (b"", b"-" * 64 * KIB, BadForm),
        (DELIMITER + b"\r\nX: ", b"y" * 64 * KIB, FormTooComplex),
        (DELIMITER + b"\r\n", b"X: y\r\n" * 10_000, FormTooComplex),
        (b"", ONE * 1000, FormTooComplex),
        (part(b"", FILE)[:-2], b"\r" * 64 * KIB, BadForm),
        (part(b"", FILE)[:-2], b"\r\n--" * 16 * KIB, BadForm),
        (part(b"", FILE)[:-2], (b"\r\n" + DELIMITER[:-1]) * 4 * KIB, BadForm),
        (END, b" " * 64 * KIB, None),
    ],
)
def test_hostile_bodies_are_bounded_in_memory_and_time(
    start: bytes, piece: bytes, error: type[Exception] | None
) -> None:
    def pour() -> None:
        parser = FormParser(BOUNDARY)
        for data in (start, *[piece] * 400):
            for _ in parser.feed(data):
                pass
        parser.finish()

    tracemalloc.start()
    started = time.process_time()
    try:
        if error is None:
            pour()
        else:
            with pytest.raises(error):
                pour()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 * MIB
    assert time.process_time() - started < 5


def test_single_bytes_are_read_in_linear_time() -> None:
    body = part(b"\r\n" * 20_000, FILE, "X: " + "y" * 8000) + END
    started = time.process_time()
    contents(*(body[at : at + 1] for at in range(len(body))))
    assert time.process_time() - started < 3
