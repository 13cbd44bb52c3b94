"""Which resource a request names: forms of targets, and hosts."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quart_app.protocol.http1 import CHUNK_LINE, reason_phrase
from quart_app.protocol.targets import BadTarget, Host, Target, parse_host, parse_target


@pytest.mark.parametrize(
    ("method", "path", "host", "version", "target"),
    [
        ("GET", "/", "a", "1.1", Target("/", "a")),
        ("GET", "//user@host/x", "a", "1.1", Target("//user@host/x", "a")),
        ("GET", "/http://b/x", "a", "2", Target("/http://b/x", "a")),
        ("GET", "/", "", "1.0", Target("/", "")),
        ("OPTIONS", "*", "", "1.1", Target("*", "")),
        ("OPTIONS", "*", "a", "2", Target("*", "a")),
        ("GET", "http://b", "a", "1.1", Target("/", "b")),
        ("GET", "HTTPS://B:1/x", "a", "1.1", Target("/x", "B:1")),
        ("GET", "http://b/http://c/x", "", "1.0", Target("/http://c/x", "b")),
        ("GET", "http://[::1]:80//x", "", "1.1", Target("//x", "[::1]:80")),
    ],
)
def test_targets(method: str, path: str, host: str, version: str, target: Target) -> None:
    assert parse_target(method, path, host, version) == target


@pytest.mark.parametrize(
    ("method", "path", "host", "version"),
    [
        ("GET", "/", "", "1.1"),
        ("GET", "/", "", "2"),
        ("GET", "/", "a b", "1.0"),
        ("GET", "", "a", "2"),
        ("GET", "x", "a", "2"),
        ("GET", "*", "a", "1.1"),
        ("CONNECT", "/x", "a", "1.1"),
        ("CONNECT", "a:80", "a:80", "1.1"),
        ("GET", "http://b/", "a", "2"),
        ("GET", "http://b/", "a b", "1.1"),
        ("GET", "http://b@c/", "a", "1.1"),
    ],
)
def test_no_targets(method: str, path: str, host: str, version: str) -> None:
    with pytest.raises(BadTarget):
        parse_target(method, path, host, version)


@pytest.mark.parametrize(
    ("value", "host"),
    [
        ("A.Example.", Host("a.example.", None)),
        ("a:", Host("a", None)),
        ("a:65535", Host("a", 65535)),
        ("[::FFFF:1.2.3.4]:8", Host("::ffff:1.2.3.4", 8)),
    ],
)
def test_hosts(value: str, host: Host) -> None:
    assert parse_host(value) == host


@given(st.text(alphabet="aA0.-_:[]%@/, x~", max_size=90))
def test_hosts_are_taken_by_what_comes_after(value: str) -> None:
    """Quart's routing encodes them by IDNA, which fails on some."""
    try:
        parse_host(value)
    except BadTarget:
        return
    assert value.partition(":")[0].encode("idna")


@pytest.mark.parametrize("end", [b"\r\n", b"\x01\r\n", b"\r\r\n"])
@pytest.mark.parametrize(
    "part", [b" ", b";a", b"; ", b" ;", b"a", b";a=b", b';a=";"', b';a="', b'\\"', b";a= ", b";a "]
)
def test_chunk_lines_take_linear_time(part: bytes, end: bytes) -> None:
    started = time.process_time()
    CHUNK_LINE.fullmatch(b"5" + part * 100_000 + end)
    CHUNK_LINE.fullmatch(b'5;a="' + part * 100_000 + end)
    assert time.process_time() - started < 2


def test_reason_phrases() -> None:
    assert reason_phrase(200) == b"OK"
    assert reason_phrase(413) == b"Content Too Large"
    assert reason_phrase(599) == b""
