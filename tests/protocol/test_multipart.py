from __future__ import annotations

import re
import time
import tracemalloc
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
        ("multipart/form-data; boundary=" + "a" * 200, "a" * 200),
        ("multipart/form-data; boundary=*****", "*****"),
        ('multipart/form-data; boundary="*****"', "*****"),
        ("multipart/form-data; boundary=a@b&c{d}", "a@b&c{d}"),
        ("multipart/form-data; boundary= Sv0aFj+y6kF, rm/+.40TZAg", "Sv0aFj+y6kF, rm/+.40TZAg"),
        ("multipart/form-data; boundary = abc ; charset=utf-8", "abc"),
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
        "multipart/form-data; boundary=" + "a" * 201,
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
        (ONE + END[:-2] + b"  ", [("a", b"1")]),
        (b"preamble\r\n" + ONE + END, [("a", b"1")]),
        (b"\n--\r\n" + DELIMITER + b"X\r\n" + ONE + END, [("a", b"1")]),
        (ONE + END + b"epilogue\x00", [("a", b"1")]),
        ((ONE * 2).replace(DELIMITER, DELIMITER + b" \t ") + END, [("a", b"1"), ("a", b"1")]),
        (ONE.replace(b"\r\n", b"\n") + END, [("a", b"1")]),
        ((ONE * 2 + END).replace(b"\r\n", b"\n"), [("a", b"1"), ("a", b"1")]),
        (b"x\n" + part(b"1\r").replace(b"\r\n", b"\n") + END, [("a", b"1\r")]),
        (ONE + DELIMITER + b"\n" + ONE[len(DELIMITER) + 2 :] + END, [("a", b"1")] * 2),
        (
            part(DELIMITER + b"X\r\n" + DELIMITER + b"-\r\n" + DELIMITER + b" x") + END,
            [("a", DELIMITER + b"X\r\n" + DELIMITER + b"-\r\n" + DELIMITER + b" x")],
        ),
        (part(b"\n" + DELIMITER + b"--\n") + END, [("a", b"\n" + DELIMITER + b"--\n")]),
        (part(b"")[:-2] + ONE + END, [("a", b""), ("a", b"1")]),
        (part(b"")[:-2] + END, [("a", b"")]),
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
        b"junk" + ONE + END,
        b"junk" + ONE + ONE + END,
        b" " + ONE + END,
        ONE + END[:-2] + b"junk",
        ONE + END[:-2] + b"\rjunk",
        ONE + END + b"junk\r\n" + ONE,
        b"x" * 16 * KIB + b"\r\n" + ONE + END,
        ONE + END + b"x" * 16 * KIB,
        ONE + END[:-2] + b"junk\r\n",
        ONE + END + ONE + END,
        ONE + END + END,
        ONE,
        ONE[:-2],
        ONE + END[:-3],
        ONE + DELIMITER + b"xx\r\n",
        ONE + b" " + END,
        ONE.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n", 1) + END,
        ONE.replace(b"\r\n", b"\r") + END,
        DELIMITER + b"\r\n\r\nno header\r\n" + END,
        DELIMITER + b"\r\nContent-Type: text/plain\r\n\r\nx\r\n" + END,
        DELIMITER + b"\r\nno colon\r\n\r\nx\r\n" + END,
        DELIMITER + b"\r\n: no name\r\n\r\nx\r\n" + END,
        DELIMITER + b"\r\n" + END,
        part(b"x", "form-data") + END,
        DELIMITER + b"\r\n folded: line\r\n" + ONE[len(DELIMITER) + 2 :] + END,
        part(b"x", 'form-data; name="a"', "  ", "X: y") + END,
        part(b"x", 'form-data; name="a"', 'Content-Disposition: form-data; name="b"') + END,
        part(b"x", 'form-data; name="a\n"') + END,
        part(b"x", 'form-data; name="a"', "Content-Transfer-Encoding: base64") + END,
        part(b"x", 'form-data; name="a"', "Content-Transfer-Encoding: quoted-printable") + END,
        part(b"x", 'form-data; name="a"; filename="b"', "Content-Transfer-Encoding: x-uu") + END,
        part(b"x", 'form-data; name="a"', "Content-Type: multipart/mixed; boundary=b") + END,
    ],
)
def test_bad_forms(body: bytes) -> None:
    with pytest.raises(BadForm):
        contents(body)
    with pytest.raises(BadForm):
        contents(*(body[at : at + 1] for at in range(len(body))))


def test_empty_pieces_mean_nothing() -> None:
    assert contents(b"", ONE[:9], b"", ONE[9:20], b"", ONE[20:] + END, b"") == [("a", b"1")]


@pytest.mark.parametrize(
    ("disposition", "name", "filename"),
    [
        ('form-data; name="a"', "a", None),
        ('form-data; name="a"; filename="b.txt"', "a", "b.txt"),
        ('form-data; name="a"; filename=""', "a", ""),
        ("form-data; name=a; filename=b.txt", "a", "b.txt"),
        ('form-data; name="é"; filename="日本.txt"', "é", "日本.txt"),
        ('form-data; name="a%22b"; filename="c%22d"', 'a"b', 'c"d'),
        ('form-data; name="a"; filename="C:\\dir\\b.txt"', "a", "C:\\dir\\b.txt"),
        ('form-data; name="dir\\"; filename="b.txt"', "dir\\", "b.txt"),
        ('form-data; name="a"; filename="C:\\dir\\"', "a", "C:\\dir\\"),
        ('form-data; name="a\\\\b"', "a\\\\b", None),
        ('form-data; name="a\\"b"; filename="c\\"d\\\\"', 'a"b', 'c"d\\'),
        ("form-data; name=a; filename=Minor Threat.png", "a", "Minor Threat.png"),
        ("form-data; name=a; filename=b (1)/c.txt", "a", "b (1)/c.txt"),
        ("form-data; name=ä; filename=日本 語.txt", "ä", "日本 語.txt"),
        ('form-data; name="a"; filename="6" nail.txt"', "a", '6" nail.txt'),
        ('form-data; name="a"; filename="b"c"; x="y"', "a", 'b"c'),
        ('form-data; name="a; filename="b.txt"', "a", "b.txt"),
        ('form-data; name="a; filename=b.txt', "a", "b.txt"),
        ('form-data; name="a"; filename="b.txt', "a", "b.txt"),
        ('form-data; name="a"b; filename="c"', 'a"b', "c"),
        ('form-data; name = "a" ; FileName = "b.txt" ;', "a", "b.txt"),
        ('form-data;name="a";filename="b.txt"', "a", "b.txt"),
        ('form-data; filename="b"', "", "b"),
        ('attachment; name="a"; filename="b"', "a", "b"),
        ('file; filename="b"', "", "b"),
        ('form-data; name="a"; filename', "a", ""),
        ('form-data; name="a"; filename=', "a", ""),
        ('form-data; name=""', "", None),
        ("form-data; name*=utf-8''%C3%A9; filename*=utf-8''%C3%A9", "é", "é"),
        ("form-data; name=\"a\"; filename*=windows-1252''%80", "a", "€"),
        ("form-data; name=\"a\"; filename*=none''%C3%A9; filename=b", "a", "b"),
        ("form-data; name=\"a\"; filename*=none''%C3%A9", "a", "é"),
        ("form-data; name=\"a\"; filename*=UTF-8''%C3", "a", "Ã"),
        ('form-data; name="a"; filename*=b%2', "a", "b%2"),
        ("form-data; name=\"a\"; filename*=UTF-8''ä ö", "a", "ä ö"),
        ('form-data; name="a"; filename*0="b"; filename*1=".txt"', "a", "b.txt"),
        ("form-data; name=\"a\"; filename*0*=UTF-8''%C3; filename*1*=%A9", "a", "é"),
        ('form-data; name="a"; filename="=?utf-8?B?w6k=?="', "a", "é"),
        ('form-data; name="a"; filename="=?utf-8?Q?=C3=A9_?= =?latin1?q?=E9?="', "a", "é é"),
        ('form-data; name="a"; filename="=?utf-8?B?w?="', "a", "=?utf-8?B?w?="),
        ('form-data; name="a"; filename="100%.txt"', "a", "100%.txt"),
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


def test_names_in_the_code_page_of_the_client() -> None:
    body = part(b"", 'form-data; name="ä"; filename="€.txt"').decode().encode("cp1252") + END
    [read] = Reader().read(body)
    assert (read.header.name, read.header.filename) == ("ä", "€.txt")


@pytest.mark.parametrize(
    ("fields", "charset", "content", "text"),
    [
        ((), b"", "é".encode(), "é"),
        (("Content-Type: text/plain; charset=ISO-8859-1",), b"", b"\xe9", "é"),
        (('Content-Type: text/plain; charset="windows-1252"',), b"utf-8", b"\x80", "€"),
        (("Content-Type: text/plain; charset=UTF-16LE",), b"", b"e\0", "e"),
        (("Content-Type: text/plain; charset=none",), b"", "é".encode(), "é"),
        (("Content-Type: text/plain",), b"iso-8859-1", b"\xe9", "é"),
        ((), b"Shift_JIS", "語".encode("shift_jis"), "語"),
        ((), b"", b"\xe9", None),
        (("Content-Type: text/plain; charset=utf-8",), b"latin1", b"\xe9", None),
        (("Content-Type: text/plain; charset=unicode_escape",), b"", b"\\u0041", "\\u0041"),
        (("Content-Type: text/plain; charset=utf-7",), b"idna", b"+AEE-", "+AEE-"),
    ],
)
def test_fields_in_their_charset(
    fields: tuple[str, ...], charset: bytes, content: bytes, text: str | None
) -> None:
    body = part(charset, name="_charset_") if charset else b""
    read = Reader().read(body + part(content, 'form-data; name="a"', *fields) + END)[-1]
    if text is None:
        with pytest.raises(BadForm):
            read.header.text(read.content)
    else:
        assert read.header.text(read.content) == text


def test_names_in_the_charset_of_the_form() -> None:
    name = 'form-data; name="語"; filename="ソ.txt"'
    body = part(b"shift_jis", name="_charset_") + part(b"", name).decode().encode("shift_jis")
    read = Reader().read(body + END)[-1]
    assert (read.header.name, read.header.filename) == ("語", "ソ.txt")


@pytest.mark.parametrize(
    "fields",
    [
        ("Content-Length: 2",),
        ("Content-Length: none", "Content-Length: 0"),
        ("X.Vendor/Field: 1", "X-Appengine Creation : 2"),
        ("X-Folded: 1\r\n\t2\r\n 3",),
        ("Content-Type:\ttext/plain",),
        ("Content-Transfer-Encoding: 8BIT ",),
        ("Content-Transfer-Encoding: UTF-8",),
        tuple(f"X-{n}: y" for n in range(30)),
    ],
)
def test_header_fields_that_do_not_matter(fields: tuple[str, ...]) -> None:
    assert contents(part(b"x", 'form-data; name="a"', *fields) + END) == [("a", b"x")]


def test_header_fields_with_tabs_folds_and_any_bytes() -> None:
    lines = [DELIMITER, b"X-A: \xff\xfe", b"content-disposition:form-data;", b'\tname="a";']
    body = b"\r\n".join([*lines, b'  filename="b.txt"', b"", b"x", END])
    [read] = Reader().read(body)
    assert (read.header.name, read.header.filename, read.content) == ("a", "b.txt", b"x")


def test_a_file_of_parts_is_a_file() -> None:
    fields = ("Content-Type: multipart/mixed; boundary=b",)
    [read] = Reader().read(part(b"x", FILE, *fields) + END)
    assert (read.header.filename, read.header.media_type) == ("f", fields[0][14:])


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
    max_parts=3,
    max_headers=2,
    max_header_size=100,
    max_head_size=160,
    max_field_size=40,
    max_fields_size=60,
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
        part(b"x", 'form-data; name="a"', "X: " + "y" * 90 + "\r\n " + "z" * 50),
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
).filter(lambda content: b"\n" + DELIMITER not in b"\n" + content)
PARTS = st.lists(st.tuples(TEXT, st.none() | TEXT, CONTENT), max_size=4)


def encoded(parts: list[tuple[str, str | None, bytes]]) -> bytes:
    return b"".join(part_of(*one) for one in parts)


def part_of(name: str, file: str | None, content: bytes) -> bytes:
    return part(content, f'form-data; name="{name}"' + (f'; filename="{file}"' if file else ""))


def with_line_feeds(body: bytes) -> bytes:
    return body.replace(b"\r\n", b"\n")


def cut(body: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({at % (len(body) + 1) for at in cuts} | {0, len(body)})
    return [body[start:stop] for start, stop in pairwise(ends)]


@given(
    PARTS,
    st.lists(st.integers(0, 5000), max_size=12),
    st.sampled_from([b"", b"\r\n", b"\r\n\r\n", b"a\n", b"--\r\n" + DELIMITER + b"x\r\n"]),
    st.sampled_from([b"", b"\r\n", b" \t\r\n\r\n", b"\r\nb\x00"]),
    st.sampled_from([b"", b" ", b"\t" * 256]),
)
def test_any_cut_gives_the_same_parts(
    parts: list[tuple[str, str | None, bytes]],
    cuts: list[int],
    preamble: bytes,
    epilogue: bytes,
    padding: bytes,
) -> None:
    pieces = [part_of(*one).replace(DELIMITER, DELIMITER + padding, 1) for one in parts]
    body = preamble + b"".join(pieces) + DELIMITER + b"--" + epilogue
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
def test_any_junk_on_the_last_line_is_refused(
    parts: list[tuple[str, str | None, bytes]], cuts: list[int], junk: bytes
) -> None:
    body = encoded(parts) + DELIMITER + b"--" + junk
    if re.match(rb"[ \t]*(\r?\n|\r?\Z)", junk):
        assert len(Reader().read(*cut(body, cuts))) == len(parts)
        return
    with pytest.raises(BadForm):
        Reader().read(*cut(body, cuts))


@given(PARTS, st.lists(st.integers(0, 5000), max_size=12))
def test_any_cut_gives_the_same_parts_with_line_feeds(
    parts: list[tuple[str, str | None, bytes]], cuts: list[int]
) -> None:
    pieces = [
        with_line_feeds(part_of(name, file, b""))[:-1] + content + b"\n"
        for name, file, content in parts
    ]
    body = b"".join(pieces) + DELIMITER + b"--\n"
    read = Reader().read(*cut(body, cuts))
    assert [(one.header.name, one.header.filename, one.content) for one in read] == parts


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
        (END, b" " * 64 * KIB, BadForm),
        (b"", b"\n", BadForm),
        (END, b"\n", BadForm),
        (DELIMITER + b"\r\n", b"X: y\r\n y\r\n" + b" y\r\n" * 5000, FormTooComplex),
        (part(b"", FILE)[:-2], b"\r\n" + DELIMITER + b" " * 255 + b"x", BadForm),
        (part(b"", FILE)[:-2], b"\r\n" + DELIMITER + b"-", BadForm),
    ],
)
def test_hostile_bodies_are_bounded_in_memory_and_time(
    start: bytes, piece: bytes, error: type[Exception]
) -> None:
    def pour() -> None:
        parser = FormParser(BOUNDARY)
        for data in (start, *[piece] * max(400, 20_000 // len(piece))):
            for _ in parser.feed(data):
                pass
        parser.finish()

    tracemalloc.start()
    started = time.process_time()
    try:
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
