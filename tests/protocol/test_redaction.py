"""Text fit for a log: no secrets of URLs, no control characters, bounded."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quart_app.protocol.redaction import MAX_LOG_TEXT_SIZE, log_path, log_text

WHOLE = "https://user:SECRET@host.example/a?sig=SECRET#SECRET"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/https://user:SECRET@host/a?b=SECRET#SECRET", "/https://host/a"),
        ("https://SECRET@host:8080/a", "https://host:8080/a"),
        ("/https:/user:SECRET@host/a", "/https:/host/a"),
        (r"https:\\user:SECRET@host", r"https:\\host"),
        ("https://a%40b:SEC%2FRET@host/", "https://host/"),
        ("https://user%2Fa:SECRET@host/", "https://host/"),
        ("https://a@b:SECRET@host/", "https://host/"),
        ("https://a:80/https://user:SECRET@b/c?SECRET", "https://a:80/https://b/c"),
        ("https://a/https%3A%2F%2Fuser%3ASECRET%40b%2F%3FSECRET", "https://a/https%3A%2F%2Fb%2F"),
        ("https%3a//user:SECRET@h/?SECRET", "https%3a//h/"),
        ("https:%2f%2fuser:SECRET@h/%3fSECRET", "https:%2f%2fh/"),
        (quote(WHOLE, safe=""), "https%3A%2F%2Fhost.example%2Fa"),
        (quote(quote(WHOLE, safe=""), safe=""), "https%253A%252F%252Fhost.example%252Fa"),
        ("https%3A%2F%2Fuser%3ASEC%252FRET%40host%2F", "https%3A%2F%2Fhost%2F"),
        ("ftp://user:SECRET@h/", "ftp://h/"),
        # A delimiter that should have been encoded ends the authority inside the password.
        ("/https://user:pa/SECRET@host/", "/https://"),
        ("/https://user:pa#SECRET@host/", "/https://"),
        ("E(\"no 'https://h:80/p?SECRET' there\")", "E(\"no 'https://h:80/p there\")"),
        ("/https://user:" + "SECRET" * 10_000 + "@host/", "/https://"),
        ("x" * 8185 + "http://user:SECRET@host/", "x" * (MAX_LOG_TEXT_SIZE - 1) + "…"),
    ],
)  # fmt: skip
def test_secrets_of_urls(text: str, shown: str) -> None:
    assert log_text(text) == shown


@pytest.mark.parametrize(
    "text",
    ["", "/files/a/b", "a@b: c/d?x", "http://[::1]:80/x@y", "/http://%5B::1%5D:8080/x",
     "https://unpkg.com/a@1.2/x", "http://a:80, because", "http://a", "f(x)? [1:2]", "中文 für"],
)  # fmt: skip
def test_the_rest_stays(text: str) -> None:
    assert log_text(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("\x1b]0;x\x07", r"\x1b]0;x\x07"), ("a\r\nb\tc\0", r"a\r\nb\tc\x00"),
     ("\x9b\x7f", r"\x9b\x7f"),
     ("\u202e\u2066\u200f\u061c", r"\u202e\u2066\u200f\u061c"), ("\ud800", r"\ud800"),
     ("\u2028\ufeff\U000e0001", r"\u2028\ufeff\U000e0001")],
)  # fmt: skip
def test_control_characters(text: str, shown: str) -> None:
    assert log_text(text) == shown


@given(st.text(max_size=300))
@example("\U000e0001" * 10_000)
@example(":/" * 10_000)
def test_any_text(text: str) -> None:
    shown = log_text(text, 100)
    assert shown.isprintable()
    assert len(shown) <= 100


@pytest.mark.parametrize(
    ("path", "shown"),
    [(b"/%1b%5d0;x", "/%1b%5d0;x"), (b"/a b\xff\x1b", "/a%20b%FF%1B"), ("/\u00fc\ud800", None),
     (b"/https://us er:SECRET@host/", "/https://host/")],
)  # fmt: skip
def test_path(path: bytes | str, shown: str | None) -> None:
    assert shown is None or log_path(path) == shown
    assert log_path(path).isascii()
    assert log_path(path).isprintable()
