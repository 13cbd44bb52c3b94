"""Header fields that pass, and those that do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from quart_app.protocol.forwarding import (
    CLAIMS,
    ORDERS,
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


#: Names that tell a destination of a client, path or method that only a proxy may state.
CLAIMED = [
    "Forwarded", "Forwarded-For", "X-Forwarded", "X-Forwarded-For", "X-Forwarded-Client-Cert",
    "X-Original-Forwarded-For", "X-Real-IP", "Client-IP", "X-Client-IP", "X-Cluster-Client-IP",
    "True-Client-IP", "CF-Connecting-IP", "CF-Connecting-IPv6", "CF-Visitor", "Fastly-Client-IP",
    "Fly-Client-IP", "CloudFront-Viewer-Address", "X-Azure-ClientIP", "X-Azure-SocketIP",
    "X-Appengine-User-IP", "X-Envoy-External-Address", "X-Envoy-Original-Path", "Proxy-Client-IP",
    "WL-Proxy-Client-IP", "WL-Proxy-Client-Cert", "X-Originating-IP", "X-Remote-IP",
    "X-Remote-Addr", "X-ProxyUser-Ip", "Remote-Addr", "Remote-User", "X-Remote-User",
    "X-Original-URL", "X-Rewrite-URL", "X-Original-Host", "X-Original-URI", "X-Host",
    "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-HTTP-Host-Override",
    "Front-End-Https", "X-Url-Scheme", "X-ARR-ClientCert", "X-SSL-Client-Verify",
    "SSL-Client-Cert", "X-WebAuth-User", "X-Auth-Request-User", "Proxy", "Do-Connecting-IP",
    "X-Vercel-Forwarded-For", "Incap-Client-IP", "X-Ms-Client-Principal",
]  # fmt: skip

FRAMING = ["Transfer-Encoding", "Content-Length", "Proxy-Authorization", "Connection", "Host",
           "HTTP2-Settings", "TE", "Upgrade", "Cookie", "Expect", "Via"]  # fmt: skip


def spellings(name: str) -> list[str]:
    """Of the same CGI variable."""
    first = name.replace("-", "_", 1)
    return [name, name.lower(), name.replace("-", "_").upper(), name.replace("-", "."), first]


@pytest.mark.parametrize("name", [*CLAIMED, *FRAMING])
def test_what_a_client_must_not_tell_a_target(name: str) -> None:
    assert request_to_target([(each, "1") for each in spellings(name)]) == []


def test_names_that_only_look_alike_go_to_a_target() -> None:
    names = ["api_key", "X_Own", "X-Realm", "X-Hosting", "X-Forward", "Flying", "Cfg", "Proximity",
             "X-Request-Id", "Traceparent", "X-HTTP-Methods", "CDN-Loop", "Origin", "Referer",
             "X-Amzn-Trace-Id", "Content_Type", "Sec-Fetch-Site"]  # fmt: skip
    fields = [(name, "1") for name in names]
    assert request_to_target(fields) == fields


@pytest.mark.parametrize("way", WAYS)
def test_a_field_that_connection_names_in_another_spelling(way) -> None:  # type: ignore[no-untyped-def]
    named = [("Connection", "X-Private"), ("X_Private", "1")]
    assert way([*named, ("Accept-Ranges", "1"), ("Range", "1")])[0][1] == "1"
    assert way(named) == []


@pytest.mark.parametrize(
    "name",
    ["X-Accel-Redirect", "X-Accel-Buffering", "X-Sendfile", "X-Sendfile2", "X-Sendfile-Temporary",
     "X-LIGHTTPD-send-file", "X-LiteSpeed-Location", "X-Reproxy-URL", "X-REPROXY-FILE",
     "Surrogate-Control", "Edge-Control", "Date", *FRAMING[2:4], "Keep-Alive", "HTTP2-Settings"],
)  # fmt: skip
def test_what_a_target_must_not_order(name: str) -> None:
    assert answer_of_target([(each, "1") for each in spellings(name)]) == []


def test_every_name_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs/relaying.md").read_text().lower()
    for name in (name for row in (*CLAIMS.values(), *ORDERS.values()) for name in row):
        assert f"`{name}{'*' if name.endswith('-') else ''}`" in page


def test_lengths_of_odd_spelling() -> None:
    odd = [("Content_Length", "1"), ("Transfer_Encoding", "chunked")]
    for way in WAYS:
        assert way(odd) == []
    assert answer_of_target([("Content-Length", "5"), *odd]) == [("Content-Length", "5")]


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
