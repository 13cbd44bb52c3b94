"""Header fields that pass, and those that do not."""

from __future__ import annotations

import pytest

from quart_app.protocol.forwarding import (
    answer_of_origin,
    answer_of_target,
    request_to_origin,
    request_to_target,
    value_of,
)

HOP_BY_HOP = [
    ("Connection", "close, X-Private"), ("connection", "Keep-Alive"), ("Keep-Alive", "timeout=5"),
    ("Proxy-Authenticate", "Basic"), ("Proxy-Authorization", "Basic eA=="), ("TE", "trailers"),
    ("Proxy-Connection", "close"), ("Trailer", "Digest"), ("Upgrade", "h2c"), ("x-private", "1"),
]  # fmt: skip

WAYS = [request_to_origin, request_to_target, answer_of_origin, answer_of_target]


@pytest.mark.parametrize("way", WAYS)
def test_hop_by_hop(way) -> None:  # type: ignore[no-untyped-def]
    assert way([*HOP_BY_HOP, ("Accept-Encoding", "gzip"), ("ETag", '"a"')])[0][1] in {"gzip", '"a"'}
    assert way(HOP_BY_HOP) == []


def test_what_asks_for_a_file() -> None:
    asked = [
        ("Range", "bytes=1-"),
        ("If-Range", '"a"'),
        ("if-none-match", '"a"'),
        ("Accept", "a/b"),
    ]
    private = [("Cookie", "a=b"), ("Authorization", "Basic eA=="), ("Host", "here"), ("X-A", "b")]
    assert request_to_origin([*asked, *private]) == asked


def test_what_describes_a_file() -> None:
    told = [("Content-Type", "a/b"), ("ETag", '"a"'), ("Content-Range", "bytes 0-1/2"),
            ("content-length", "2"), ("Content-Encoding", "gzip"), ("Vary", "a")]  # fmt: skip
    acting = [("Set-Cookie", "a=b"), ("X-Accel-Redirect", "/protected/x"), ("Refresh", "0"),
              ("Location", "/"), ("WWW-Authenticate", "Basic"), ("Clear-Site-Data", "*"),
              ("Access-Control-Allow-Origin", "*"), ("Content-Security-Policy", "x")]  # fmt: skip
    assert answer_of_origin([*told, *acting]) == told


def test_what_goes_to_a_target() -> None:
    passed = [("Content-Type", "a/b"), ("Authorization", "Bearer x"), ("X-A", "b"), ("X-A", "c")]
    kept = [("Host", "here"), ("Cookie", "a"), ("Content-Length", "1"), ("Expect", "x"),
            ("X-Forwarded-For", "a"), ("Forwarded", "for=a"), ("X-Real-IP", "a")]  # fmt: skip
    assert request_to_target([*passed, *kept]) == passed


def test_what_comes_from_a_target() -> None:
    passed = [("Set-Cookie", "a"), ("Set-Cookie", "b"), ("X-A", "b"), ("Content-Length", "1")]
    orders = [("X-Accel-Redirect", "/x"), ("X-Accel-Buffering", "no"), ("X-Sendfile", "/etc/x")]
    assert answer_of_target([*passed, *orders]) == passed


@pytest.mark.parametrize("way", [answer_of_origin, answer_of_target])
def test_a_length_that_does_not_count(way) -> None:  # type: ignore[no-untyped-def]
    assert way([("Transfer-Encoding", "chunked"), ("Content-Length", "5")]) == []


def test_value() -> None:
    assert value_of([("a", "1"), ("A", "2")], "a") == "1, 2"
    assert value_of([("a", "1")], "b") is None
