from __future__ import annotations

import mimetypes
import time
from unicodedata import category, is_normalized
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quart_app.protocol.names import (
    SNIFF_SIZE,
    content_disposition,
    display_name,
    guess_media_type,
    inline_safe,
    media_type,
    parse_disposition_name,
    url_name,
)

FAMILY = "👨‍👩‍👧‍👦"
SCOTLAND = "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (None, "file"),
        ("", "file"),
        ("a.txt", "a.txt"),
        ("/etc/passwd", "passwd"),
        ("../../x", "x"),
        ("C:\\Users\\me\\a.txt", "a.txt"),
        ("a/b\\c/d", "d"),
        ("dir/", "file"),
        (".", "file"),
        ("..", "file"),
        (". .", "file"),
        ("...", "file"),
        (" \u3000. ", "file"),
        (".bashrc", ".bashrc"),
        ("..x", "..x"),
        ("  a b.txt \t", "a b.txt"),
        ("a.txt. . .", "a.txt"),
        ("a\xa0.", "a"),
        ("a\r\nb\x00c\x7fd\x9fe", "abcde"),
        ("gpj.exe\u202egpj.txt", "gpj.exegpj.txt"),
        ("\u200ea\u200fb\u061cc\u2066d\u2069e\u2028f\u2029g\ufeffh\u200bi", "abcdefghi"),
        ("a\ud800b\udfffc", "abc"),
        (".\u200b.", "file"),
        ("e\u0301.txt", "é.txt"),
        ("日本語.pdf", "日本語.pdf"),
        (f"{FAMILY} {SCOTLAND}.png", f"{FAMILY} {SCOTLAND}.png"),
        ("می‌خواهم.txt", "می‌خواهم.txt"),
        ("a" * 300, "a" * 255),
        ("a" * 300 + ".tar.gz", "a" * 252 + ".gz"),
        ("a" * 300 + "." + "b" * 40, "a" * 255),
        ("é" * 200 + ".txt", "é" * 125 + ".txt"),
        ("😀" * 100, "😀" * 63),
        ("." * 300 + "x", "file"),
        ("a" * 254 + "  b", "a" * 254),
        (" " * 300 + "a.txt", "a.txt"),
        ("a" * 300 + ".txt. ", "a" * 251 + ".txt"),
        ("e\u0301" * 100 + ".txt", "é" * 100 + ".txt"),
    ],
)
def test_display_names(raw: str | None, name: str) -> None:
    assert display_name(raw) == name


def test_the_default_is_the_callers() -> None:
    assert display_name("..", default="upload.bin") == "upload.bin"


# Not `st.text`, which leaves out halves of characters.
AWKWARD = st.lists(
    st.one_of(
        st.sampled_from(
            "a.. /\\\t\n\x00\x85\xa0\u3000\u200b\u200d\u202e\u2028\ufeff\ud800\u0301é😀"
        ),
        st.characters(),
    ),
    max_size=30,
).map("".join)
NAMES = st.one_of(
    AWKWARD, st.tuples(AWKWARD, st.integers(1, 60), AWKWARD).map(lambda t: t[0] * t[1] + t[2])
)
FORBIDDEN = "/\\\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@given(NAMES)
def test_display_names_are_safe_and_final(raw: str) -> None:
    name = display_name(raw)
    assert display_name(name) == name
    assert 0 < len(name.encode()) <= 255
    assert name not in {".", ".."}
    assert name == name.strip() == name.rstrip(".")
    assert not {category(character) for character in name} & {"Cc", "Cs", "Zl", "Zp"}
    assert not set(name) & set(FORBIDDEN)
    assert is_normalized("NFC", name)


@pytest.mark.parametrize("raw", ["a" + "\u0301\u0316" * 20_000, ". " * 100_000, "a. " * 100_000])
def test_long_names_cost_no_time(raw: str) -> None:
    started = time.process_time()
    display_name(raw)
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (None, None),
        ("", None),
        ("attachment", None),
        ("attachment; filename=a.txt", "a.txt"),
        ("ATTACHMENT; FILENAME=a.txt", "a.txt"),
        ('attachment; filename="a b.txt"', "a b.txt"),
        (r'attachment; filename="a \"b\" \\ c.txt"', r'a "b" \ c.txt'),
        ('attachment; filename="a;b.txt"', "a;b.txt"),
        ('attachment; filename=""', ""),
        ("attachment; filename=my file.txt", "my file.txt"),
        ("attachment; filename*=UTF-8''%e2%82%ac%20rates", "€ rates"),
        ("attachment; filename*=utf-8'en'%C3%A9", "é"),
        ("attachment; filename*=ISO-8859-1''%A3%20rates", "£ rates"),
        ("attachment; filename=\"no.txt\"; filename*=UTF-8''yes.txt", "yes.txt"),
        ("attachment; filename*=UTF-8''yes.txt; filename=no.txt", "yes.txt"),
        ("attachment; filename*=UTF-8''a%20(1).txt", "a (1).txt"),
        ("attachment; filename*=\"UTF-8''yes.txt\"", "yes.txt"),
        ("attachment; filename*=UTF-8''%ff; filename=a", "a"),
        ("attachment; filename*=UTF-8''%f; filename=a", "a"),
        ("attachment; filename*=UTF-8''%zz; filename=a", "a"),
        ("attachment; filename*=UTF-8''é; filename=a", "a"),
        ("attachment; filename*=UTF-8; filename=a", "a"),
        ("attachment; filename*=UTF-7''x; filename=a", "a"),
        ("attachment; filename*=iſo-8859-1''x; filename=a", "a"),
        ("attachment; filename*=; filename=a", "a"),
        ("attachment; filename*=UTF-8''%ff", "ÿ"),
        ("attachment; filename*=", ""),
        ("attachment; filename*=UTF-8''a b", "a b"),
        ("attachment; filename*=Shift_JIS''%83%5C", "ソ"),
        ('attachment; filename="=?utf-8?B?w6k=?="', "é"),
        ('attachment; filename="6" nail.txt"', '6" nail.txt'),
        ('attachment; filename="C:\\dir\\a.txt"', "C:\\dir\\a.txt"),
        ('attachment; filename="a%22b"', "a%22b"),
        ('attachment; filename="../../x"', "../../x"),
        ('attachment; name="; filename=evil"', None),
        (";;;=;", None),
        ("filename=a.txt", None),
    ],
)
def test_disposition_names(header: str | None, name: str | None) -> None:
    assert parse_disposition_name(header) == name


@given(st.text(alphabet="file name*=;\"\\'%UTF-8aé", max_size=60))
def test_any_disposition_is_read(junk: str) -> None:
    parse_disposition_name(junk)
    parse_disposition_name(f"attachment; filename={junk}; filename*={junk}")
    assert parse_disposition_name(f"attachment; filename*=UTF-8''ok;{junk}") == "ok"


def test_content_disposition() -> None:
    assert content_disposition("a b.txt") == (
        "attachment; filename=\"a b.txt\"; filename*=UTF-8''a%20b.txt"
    )
    assert content_disposition('é"%\\.txt', inline=True) == (
        "inline; filename=\"____.txt\"; filename*=UTF-8''%C3%A9%22%25%5C.txt"
    )


@given(AWKWARD)
def test_content_disposition_cannot_be_broken_out_of(name: str) -> None:
    header = content_disposition(name)
    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2
    assert not set(header.partition("; filename*=UTF-8''")[2]) & set("\"';, \\")


@given(AWKWARD.map(display_name))
def test_display_names_round_trip(name: str) -> None:
    assert parse_disposition_name(content_disposition(name)) == name
    assert unquote(url_name(name)) == name


def test_a_url_name_is_one_segment() -> None:
    assert url_name("a/b?c#d e%é.txt") == "a%2Fb%3Fc%23d%20e%25%C3%A9.txt"
    assert url_name("\ud800") == "%3F"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.txt", "text/plain"),
        ("A.JPG", "image/jpeg"),
        ("a.webp", "image/webp"),
        ("a.md", "text/markdown"),
        ("a.js", "text/javascript"),
        ("a.tar", "application/x-tar"),
        ("a.tar.gz", "application/gzip"),
        ("a.TAR.GZ", "application/gzip"),
        ("a.tgz", "application/gzip"),
        ("a.gz", "application/gzip"),
        ("a.html.gz", "application/gzip"),
        ("a.txt.bz2", "application/x-bzip2"),
        ("a.xz", "application/x-xz"),
        ("a.Z", "application/x-compress"),
        ("a.zst", "application/zstd"),
        ("a", "application/octet-stream"),
        ("a.unheard-of", "application/octet-stream"),
        ("", "application/octet-stream"),
        (".txt", "application/octet-stream"),
        ("data:text/html,x.png", "image/png"),
        ("data:text/html", "application/octet-stream"),
        ("http://[x.png", "image/png"),
    ],
)
def test_guesses(name: str, expected: str) -> None:
    assert guess_media_type(name) == expected


def test_guesses_do_not_depend_on_the_machine() -> None:
    mimetypes.add_type("text/odd", ".odd")
    assert mimetypes.guess_type("a.odd")[0] == "text/odd"
    assert guess_media_type("a.odd") == "application/octet-stream"


CUT = b"a" + "é".encode() * 40_000
UTF_8, NONE = "; charset=utf-8", ""


@pytest.mark.parametrize(
    ("data", "charset"),
    [
        (b"", NONE),
        (b"in ASCII", NONE),
        ("Grüße — 文件 🦆".encode(), UTF_8),
        ("\ufeffGrüße".encode(), UTF_8),
        (CUT, UTF_8),
        (b"a" * SNIFF_SIZE + b"b", UTF_8),  # longer than what is looked at
        (b"a" * SNIFF_SIZE, NONE),
        # Other codings.
        ("Grüße".encode("latin-1"), NONE),
        ("Grüße".encode("utf-16"), NONE),
        ("\ufeffGrüße".encode("utf-16-be"), NONE),
        ("ASCII, é".encode("utf-16-le"), NONE),
        ("Grüße".encode("utf-32"), NONE),
        ("文件".encode("gb18030"), NONE),
        ("日本語".encode("shift-jis"), NONE),
        (("日本語" * 20_000).encode("iso-2022-jp"), NONE),
        ("é".encode()[:1], NONE),  # cut at the end of the file itself
        ("é".encode() + b"\xff", NONE),
        ("é".encode() + b"\0", NONE),
        (b"\xed\xa0\x80", NONE),  # half a character
        (b"\xc0\xaf", NONE),
    ],
)
def test_charset_of_a_guessed_text(data: bytes, charset: str) -> None:
    head, complete = data[:SNIFF_SIZE], len(data) <= SNIFF_SIZE
    assert guess_media_type("a.txt", head, complete=complete) == f"text/plain{charset}"
    assert guess_media_type("a.csv", head, complete=complete) == f"text/csv{charset}"


NOT_TEXT = ["a.xml", "a.json", "a.svg", "a.yaml", "a.ndjson", "a.txt.gz", "a"]


@pytest.mark.parametrize("name", NOT_TEXT)
def test_other_types_have_no_charset(name: str) -> None:
    assert guess_media_type(name, "Grüße".encode()) == guess_media_type(name)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("text/csv", "text/csv"),
        (" text/csv ", "text/csv"),
        ("Text/CSV; Charset=UTF-8", "Text/CSV; Charset=UTF-8"),
        ('text/csv;a="x; \\"y\\""; b=1', 'text/csv;a="x; \\"y\\""; b=1'),
        ("text/csv;", "text/csv;"),
        ("application/octet-stream", "application/octet-stream"),
        ("application/vnd.a+json", "application/vnd.a+json"),
        ("a/" + "b" * 253, "a/" + "b" * 253),
        ("a/" + "b" * 254, "image/png"),
        (None, "image/png"),
        ("", "image/png"),
        ("text", "image/png"),
        ("text/", "image/png"),
        ("text/csv, text/html", "image/png"),
        ("text/csv; charset", "image/png"),
        ("text/csv; charset=é", "image/png"),
        ("text/csv\r\nX: y", "image/png"),
        ("text/csv\n", "image/png"),
        ('text/csv; a="\x00"', "image/png"),
        ('text/csv; a="open', "image/png"),
        ("application/x-www-form-urlencoded", "image/png"),
        ("Application/X-WWW-Form-Urlencoded; charset=utf-8", "image/png"),
    ],
)
def test_media_types(header: str | None, expected: str) -> None:
    assert media_type(header, "a.png") == expected


def test_media_types_are_judged_in_linear_time() -> None:
    started = time.process_time()
    assert media_type("a/b" + "; " * 120 + "!", "x") == "application/octet-stream"
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize(
    ("type_", "safe"),
    [
        ("image/png", True),
        ("Image/PNG ; a=b", True),
        ("text/plain; charset=utf-8", True),
        ("text/html", False),
        ("text/html; image/png", False),
        ("video/x-unheard-of", True),
        ("audio/wav;a=b;", True),
        ("application/pdf", True),
        ("image/png;,text/html", False),
        ("image/png, text/html", False),
        ('image/png;a=",text/html', False),
        ('image/png;a=",",text/html', False),
        ("image/png text/html", False),
        ("image/", False),
        ("image", False),
        ("image/png\x0b", False),
        ("image/x+XML", False),
        ("video/foo+xml", False),
        ("audio/xml", False),
        ("image/svg", False),
        ("text/csv", False),
        ("image/svg+xml", False),
        ("application/xml", False),
        ("application/xhtml+xml", False),
        ("text/javascript", False),
        ("application/octet-stream", False),
        ("", False),
    ],
)
def test_inline_safe(type_: str, safe: bool) -> None:
    assert inline_safe(type_) is safe


@pytest.mark.parametrize(
    "piece",
    [
        ';a="x',
        ';a="x"y',
        ';a="\\"x',
        ';a="x"y; filename="z"z',
        ';"',
        "; a",
        ';a="',
        '; a = "',
        "\\",
    ],
)
def test_dispositions_are_read_in_linear_time(piece: str) -> None:
    started = time.process_time()
    for end in ("", '"', '";'):
        parse_disposition_name("x" + piece * (100_000 // len(piece)) + end)
    assert time.process_time() - started < 2
