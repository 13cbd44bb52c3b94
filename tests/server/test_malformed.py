"""Requests that are no HTTP/1.1, or try to be two things at once.

Each is answered 4xx or not at all, and its connection closed; no request hidden in another is ever
looked at; nothing hangs or is taken for a failure of the server. What the RFCs let a server take,
it may answer.
"""

from __future__ import annotations

import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.server.fleet import Fleet

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Idle connections are closed after 5 seconds, and so are those in the midst of a request's head.
DEADLINE_SECONDS = 20

#: A request that no case may have anybody see.
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: test\r\n\r\n"

LINE = re.compile(rb"^HTTP/1\.1 (\d\d\d) ", re.MULTILINE)


def post(*headers: bytes, body: bytes = b"") -> bytes:
    head = b"\r\n".join([b"POST /nowhere HTTP/1.1", b"Host: test", *headers, b"", b""])
    return head + body


def chunked(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", body=body)


def get(*headers: bytes, line: bytes = b"GET /healthz HTTP/1.1") -> bytes:
    return b"\r\n".join([line, b"Host: test", *headers, b"", b""])


TE = b"Transfer-Encoding: chunked"
END = b"0\r\n\r\n"
WEBSOCKET = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13")

#: Neither decimal nor hexadecimal.
NO_NUMBERS = (b"", b"-5", b"+5", b"5 5", b"5_0", b"5\x00", b"\x005")

#: To be refused: 4xx or a closed connection.
REFUSED = {
    # Two framings, or none that is known.
    "length and coding": post(b"Content-Length: 5", TE, body=END + HIDDEN),
    "coding and length": post(TE, b"Content-Length: 5", body=END + HIDDEN),
    "coding and length 0": post(TE, b"Content-Length: 0", body=HIDDEN),
    "two lengths": post(b"Content-Length: 5", b"Content-Length: 6", body=b"12345" + HIDDEN),
    "two lengths in one": post(b"Content-Length: 5, 6", body=b"12345" + HIDDEN),
    "two codings": post(TE, TE, body=END + HIDDEN),
    "twice chunked": post(b"Transfer-Encoding: chunked, chunked", body=END + HIDDEN),
    "coding unknown": post(b"Transfer-Encoding: xchunked", body=END + HIDDEN),
    "coding identity": post(b"Transfer-Encoding: identity", b"Content-Length: 5", body=HIDDEN),
    "chunked not last": post(b"Transfer-Encoding: chunked, identity", body=END + HIDDEN),
    "coding gzip": post(b"Transfer-Encoding: gzip, chunked", body=END + HIDDEN),
    "coding hidden by a tab": post(b"Transfer-Encoding:\x0bchunked", body=END + HIDDEN),
    "coding with a space before": post(b"Transfer-Encoding : chunked", body=END + HIDDEN),
    "coding after a NUL": post(b"Transfer-Encoding: \x00chunked", body=END + HIDDEN),
    "coding quoted": post(b'Transfer-Encoding: "chunked"', body=END + HIDDEN),
    "coding after a bare CR": post(b"X: y\rTransfer-Encoding: chunked", body=END + HIDDEN),
    # Lengths that are no numbers.
    **{
        f"length {length!r}": post(b"Content-Length: " + length, body=b"12345" + HIDDEN)
        for length in [*NO_NUMBERS, b"five", b"0x5", b"5.0", b"5e0", b"9" * 30, "٥".encode()]
    },
    # Chunks.
    **{
        f"chunk size {size!r}": chunked(size + b"\r\nabcde\r\n" + END + HIDDEN)
        for size in [*NO_NUMBERS, b"g", b"0x5", b" ", b"5\r5", b"f" * 30]
    },
    "chunk longer than said": chunked(b"3\r\nabcde\r\n" + END + HIDDEN),
    "chunk without an end": chunked(b"5\r\nabcdeXX" + END + HIDDEN),
    "chunk extension without end": chunked(b"5;" + b"x" * 100_000),
    "trailers without end": chunked(b"0\r\n" + b"X: y\r\n" * 100_000),
    "trailer that is none": chunked(b"0\r\nno colon\r\n\r\n" + HIDDEN),
    # Heads.
    "header without a colon": get(b"no colon"),
    "header without a name": get(b": value"),
    "space in a name": get(b"A B: value"),
    "space after a name": get(b"A : value"),
    "NUL in a name": get(b"A\x00B: value"),
    "NUL in a value": get(b"A: a\x00b"),
    "CR in a value": get(b"A: a\rb"),
    "bytes above ASCII in a name": get("Ä: value".encode()),
    "first header folded": b"GET / HTTP/1.1\r\n folded: yes\r\nHost: test\r\n\r\n",
    "many headers": get(*(b"X-%d: y" % number for number in range(10_000))),
    "long header": get(b"X: " + b"y" * 1_000_000),
    "header without end": b"GET / HTTP/1.1\r\nX: " + b"y" * 1_000_000,
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two hosts": get(b"Host: other"),
    # Request lines.
    "long line": get(line=b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1"),
    "long line without end": b"GET /" + b"x" * 1_000_000,
    "no version": get(line=b"GET /healthz"),
    "other protocol": get(line=b"GET /healthz HTCPCP/1.0"),
    "version 9.9": get(line=b"GET /healthz HTTP/9.9"),
    "version 2.0": get(line=b"GET /healthz HTTP/2.0"),
    "version 1.10": get(line=b"GET /healthz HTTP/1.10"),
    "version in small letters": get(line=b"GET /healthz http/1.1"),
    "space in the target": get(line=b"GET /a b HTTP/1.1"),
    "NUL in the target": get(line=b"GET /\x00 HTTP/1.1"),
    "bytes above ASCII in the target": get(line="GET /ä HTTP/1.1".encode()),
    "two spaces": get(line=b"GET  /healthz HTTP/1.1"),
    "tab": get(line=b"GET\t/healthz HTTP/1.1"),
    "space before": get(line=b" GET /healthz HTTP/1.1"),
    "method that is none": get(line=b"G@T /healthz HTTP/1.1"),
    "tunnel": get(line=b"CONNECT example.org:80 HTTP/1.1"),
    "other tongue": b"EHLO example.org\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 4,
    "noise": bytes(range(256)) * 100,
    "nothing": b"",
    "half a line": b"GET /hea",
    "half a head": b"GET /healthz HTTP/1.1\r\nHost: te",
    "half a body": chunked(b"5\r\nab"),
    # Other protocols to change to.
    "websocket": get(*WEBSOCKET, b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="),
    "websocket without a key": get(*WEBSOCKET),
    "beginning of HTTP/2 alone": b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
}

#: Not to be refused for their form; the answer may be any but 5xx.
TAKEN = {
    "length said twice": post(b"Content-Length: 5", b"Content-Length: 5", body=b"12345"),
    "length with zeros": post(b"Content-Length: 005", body=b"12345"),
    "coding in capitals": post(b"TRANSFER-ENCODING: CHUNKED", body=END),
    "chunk size in capitals": chunked(b"A\r\n0123456789\r\n" + END),
    "chunk size with zeros": chunked(b"0005\r\nabcde\r\n" + END),
    "chunk extension": chunked(b'5;a=b;c="d"\r\nabcde\r\n' + END),
    "chunks of one byte": chunked(b"1\r\nx\r\n" * 20_000 + END),
    "lines that end in LF": get().replace(b"\r\n", b"\n"),
    "empty lines before": b"\r\n\r\n" + get(),
    "folded header": get(b"X: y", b" z"),
    "bytes above ASCII in a value": get(b"X: \xff\xfe"),
    "empty value": get(b"X:"),
    "whole URL": get(line=b"GET http://test/healthz HTTP/1.1"),
    "asterisk": get(line=b"OPTIONS * HTTP/1.1"),
    "unknown method": get(line=b"BREW /healthz HTTP/1.1"),
    "method in small letters": get(line=b"get /healthz HTTP/1.1"),
    "escapes that are none": get(line=b"GET /%zz%0 HTTP/1.1"),
    "escaped NUL": get(line=b"GET /%00 HTTP/1.1"),
    "escape above ASCII": get(line=b"GET /%ff%fe HTTP/1.1"),
    "two slashes": get(line=b"GET //healthz HTTP/1.1"),
    "dots": get(line=b"GET /../../etc/passwd HTTP/1.1"),
    "request without headers of version 1.0": b"GET /healthz HTTP/1.0\r\n\r\n",
    "body of version 1.0": b"POST /nowhere HTTP/1.0\r\nContent-Length: 5\r\n\r\n12345",
    "unknown expectation": post(b"Expect: wonders", b"Content-Length: 5", body=b"12345"),
    "upgrade to h2c with bad settings": get(
        b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: ?"
    ),
    "upgrade to h2c without settings": get(b"Connection: Upgrade", b"Upgrade: h2c"),
    "upgrade to the unknown": get(b"Connection: Upgrade", b"Upgrade: wonders"),
}


@dataclass(frozen=True)
class Outcome:
    statuses: list[int]
    seconds: float


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    try:
        fleet.ready()
        yield fleet
        fleet.assert_settled()
        fleet.stop()
    finally:
        fleet.kill()


@pytest.fixture(scope="module")
def outcomes(fleet: Fleet) -> dict[str, Outcome]:
    """What came of every case; they run at once, as many end only when the server has enough."""

    def outcome(data: bytes) -> Outcome:
        started, answer = time.monotonic(), b""
        with closing(socket.create_connection((fleet.host, fleet.port))) as connection:
            connection.settimeout(DEADLINE_SECONDS)
            try:
                connection.sendall(data)
                while received := connection.recv(65536):
                    answer += received
            except (ConnectionError, TimeoutError):
                pass  # which of them, the time tells
        return Outcome([int(s) for s in LINE.findall(answer)], time.monotonic() - started)

    cases = REFUSED | TAKEN
    with ThreadPoolExecutor(len(cases)) as pool:
        return dict(zip(cases, pool.map(outcome, cases.values()), strict=True))


@pytest.mark.parametrize("name", REFUSED)
def test_refused(outcomes: dict[str, Outcome], name: str) -> None:
    outcome = outcomes[name]
    assert len(outcome.statuses) <= 1
    assert all(400 <= status < 500 for status in outcome.statuses)
    assert outcome.seconds < DEADLINE_SECONDS


@pytest.mark.parametrize("name", TAKEN)
def test_taken(outcomes: dict[str, Outcome], name: str) -> None:
    outcome = outcomes[name]
    assert len(outcome.statuses) == 1
    assert 200 <= outcome.statuses[0] < 500
    assert outcome.seconds < DEADLINE_SECONDS


def test_nothing_hidden_was_seen(fleet: Fleet, outcomes: dict[str, Outcome]) -> None:
    assert [line for line in fleet.logged("request") if line["path"] == "/hidden"] == []
    fleet.assert_settled()
