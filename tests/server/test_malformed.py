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

LINE = re.compile(rb"HTTP/1\.1 (\d\d\d) [A-Z]")


def post(*headers: bytes, body: bytes = b"") -> bytes:
    head = b"\r\n".join([b"POST /nowhere HTTP/1.1", b"Host: test", *headers, b"", b""])
    return head + body


def chunked(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", body=body)


def get(*headers: bytes, line: bytes = b"GET /healthz HTTP/1.1") -> bytes:
    return b"\r\n".join([line, b"Host: test", *headers, b"", b""])


def host(value: bytes, line: bytes = b"GET /healthz HTTP/1.1") -> bytes:
    return b"%b\r\nHost: %b\r\n\r\n" % (line, value)


TE = b"Transfer-Encoding: chunked"
END = b"0\r\n\r\n"
WEBSOCKET = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13")

#: Neither decimal nor hexadecimal.
NO_NUMBERS = (b"", b"-5", b"+5", b"5 5", b"5_0", b"5\x00", b"\x005")

#: Hosts that are none, from the tables of Go, nginx, lighttpd and Kestrel, and more of their kind.
NO_HOSTS = (
    b"a b", b"a\tb", b"a/b", b"/", b"a\\b", b"a@b", b"user:secret@a", b"a,b", b"a, b", b"a?b",
    b"a#b", b"a|b", b"<a>", b"a^b", b'"a"', b"{a}", b"a`b", b"a%zz", b"a%2", b"http://a", b"a:b",
    b"a:-1", b"a:+80", b"a: 80", b"a:80x", b"a:0x50", b"a:65536", b"a:99999", b"a:100000",
    b"a:80:80", b":80", b"123.40.56.78:9000:80", b".", b"..", b"..x", b"..examp-LE.com", b"a..b",
    b"a..", b"x" * 64, b"a." + b"x" * 64, b"x." * 127 + b"x", b"[x", b"[", b"]", b"[]", b"[]:80",
    b"::1", b"[::1", b"::1]", b"[::1]x", b"[::1]80", b"[::1]..:98", b"[:::1]", b"[::g]", b"[1]",
    b"[::1]:65536", b"[::1%eth0]", b"[::1%25eth0]", b"[127.0.0.1]", b"[ab..cd::1]",
    b"[abcd::e\\f98:0/:7654:321]", b"[12345::1]", b"[1:2:3:4:5:6:7:8:9]", b"a\x02", b"a\x7f",
    b"a\xff", "bücher.de".encode(),
)  # fmt: skip

#: Request targets that are none.
NO_TARGETS = (
    b"?x", b"x", b"x/y", b"..", b"../../../../etc/passwd", b"./x", b"#x", b"*x", b"**",
    b"a:80", b"healthz", b"\\healthz", b"%2fhealthz", b":", b"http:", b"http:/", b"http:/healthz",
    b"http:healthz", b"http://", b"http:///healthz", b"http://?x", b"http://[x/", b"http://[x]/",
    b"http://[]/", b"http://a:b/", b"http://a:65536/", b"http://a@b/", b"http://u:p@b/", b"http://..x/",
    b"http://a,b/", b"http://" + b"x" * 64 + b"/", b"http://a\\b/", b"http://::1/", b"ftp://a/",
    b"file:///etc/passwd", b"ws://a/", b"javascript:x", b"mailto:a@b",
)  # fmt: skip

#: Extensions of chunks that are none (RFC 9112, 7.1.1): another parser may end the line elsewhere.
NO_EXTENSIONS = (
    b";", b" ;", b";;a", b";a;", b";=b", b";a=", b";a b", b";a=b c", b";a\rb", b";a=b\r", b";\r",
    b"\r", b";a\nb", b";a=\nb", b";\n", b"\n", b";a\x00", b";a=\x01", b";a=\x0b", b";a=\x7f",
    b';a="b', b';a="b"c', b';a="\\"', b';a="b\x00"', b';a="b\rc"', b';a="b\nc"', b';a="\r\n"',
    b";a=\xff", b"a b", b" 0", b"\x0b;a", b"\xa0;a", b" \x0c;a", b",", b"#", b"=a",
)  # fmt: skip

#: To be refused: 4xx or a closed connection.
REFUSED = {
    **{f"host {value!r}": host(value) for value in NO_HOSTS},
    **{
        f"host {value!r} of version 1.0": host(value, b"GET /healthz HTTP/1.0")
        for value in NO_HOSTS[:8]
    },
    **{f"target {target!r}": get(line=b"GET %b HTTP/1.1" % target) for target in NO_TARGETS},
    "host that is empty": host(b""),
    "host of white space": host(b" \t "),
    "two hosts that agree": get(b"Host: test"),
    "two hosts of version 1.0": get(b"Host: test", line=b"GET /healthz HTTP/1.0"),
    "malformed host beside a whole URL": host(b"a b", b"GET http://test/healthz HTTP/1.1"),
    "whole URL without a host": b"GET http://test/healthz HTTP/1.1\r\n\r\n",
    "asterisk for another method": get(line=b"GET * HTTP/1.1"),
    "asterisk for a small method": get(line=b"options * HTTP/1.1"),
    "NOTIFY of SSDP": get(line=b"NOTIFY * HTTP/1.1"),
    "tunnel for RPC": get(line=b"CONNECT /_goRPC_ HTTP/1.1"),
    "tunnel without a host": b"CONNECT 127.0.0.1:6060 HTTP/1.1\r\n\r\n",
    "tunnel of version 1.0": get(line=b"CONNECT []%20%48%54%54%50%2f%31%2e%31 HTTP/1.0"),
    "HEAD of no target": get(line=b"HEAD ?x HTTP/1.1"),
    "body of no target": post(b"Content-Length: 38", body=HIDDEN).replace(b"/nowhere", b"?x"),
    **{
        f"chunk extension {extension!r}": chunked(
            b"5" + extension + b"\r\nabcde\r\n" + END + HIDDEN
        )
        for extension in NO_EXTENSIONS
    },
    **{
        f"extension {extension!r} of the last chunk": chunked(
            b"0" + extension + b"\r\n\r\n" + HIDDEN
        )
        for extension in (b";a\rb", b';a="\r\n"', b";a\x00")
    },
    "bare CR before": b"\r" + get(),
    "bare CR between empty lines": b"\r\n\r\r\n" + get(),
    "space after empty lines": b"\r\n " + get(),
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

#: Requests that are answered with these statuses.
ANSWERED = {
    "empty lines before": (b"\r\n\r\n" + get(), [200]),
    "empty lines that end in LF": (b"\n\r\n\n" + get(), [200]),
    "empty lines between": (get() + b"\r\n" + get() + b"\r\n\n" + get() + b"\r\n", [200] * 3),
    "empty line behind a body": (
        post(b"Content-Length: 5", body=b"12345\r\n") + chunked(END + b"\r\n") + get(),
        [404, 404, 200],
    ),
    "ten thousand empty lines": (b"\r\n" * 10_000 + get(), [200]),
    "asterisk": (get(line=b"OPTIONS * HTTP/1.1") + get(), [200, 200]),
    "asterisk without a host": (host(b"", b"OPTIONS * HTTP/1.1") + get(), [200, 200]),
    "asterisk of version 1.0": (b"OPTIONS * HTTP/1.0\r\n\r\n", [200]),
    "asterisk with a body": (
        get(b"Content-Length: 5", line=b"OPTIONS * HTTP/1.1") + b"12345", [200]
    ),
    "whole URL": (get(line=b"GET http://test/healthz HTTP/1.1"), [200]),
    "whole URL in capitals": (get(line=b"GET HTTP://TEST/healthz HTTP/1.1"), [200]),
    "whole URL beside an empty host": (host(b"", b"GET http://test/healthz HTTP/1.1"), [200]),
    "whole URL of version 1.0": (b"GET http://test/healthz HTTP/1.0\r\n\r\n", [200]),
    "whole URL with a port and a query": (
        get(line=b"GET https://test:443/healthz?x=/? HTTP/1.1"), [200]
    ),
    "host of version 1.0 that is empty": (host(b"", b"GET /healthz HTTP/1.0"), [200]),
    "unknown method": (get(line=b"BREW /healthz HTTP/1.1"), [405]),
    "method in small letters": (get(line=b"get /healthz HTTP/1.1") + get(), [405, 200]),
    "method with a small letter": (get(line=b"GEt /healthz HTTP/1.1"), [405]),
    "upgrade of version 1.0": (get(*WEBSOCKET, line=b"GET /healthz HTTP/1.0"), [200]),
    **{
        f"host {value!r}": (host(value), [200])
        for value in (
            b"www.abcd-ef.g02.xyz", b"abcd-ef.g02.xyz.:88", b"AbC-d93.0.34ZhGt-s.nk.Ru:88", b"a.",
            b"a:", b"123.49.0.78:987", b"[::1]", b"[abcd::ef98:0:7654:321]:80",
            b"[::ffff:12.30.67.89]:4321", b"my_service:8000", b"0.0.0.0=5000", b"b%C3%BCcher.de",
            b"a~b!$&'()*+;=c", b"xn--bcher-kva.de", b" \ttest \t", b"test:0", b"x" * 63 + b".x",
            b"-", b"1",
        )
    },
    **{
        f"chunk extension {extension!r}": (
            chunked(b"5" + extension + b"\r\nabcde\r\n0" + extension + b"\r\n\r\n") + get(),
            [404, 200],
        )
        for extension in (
            b" ;a=b", b"\t;a", b" \t ; \ta \t= \tb \t; c", b';a="b;c"', b';a="\\"\\\\"',
            b";chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            b"  ",
            b';a=b;c="d"', b';a="\xff\t"',
        )
    },
}  # fmt: skip

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
    "folded header": get(b"X: y", b" z"),
    "bytes above ASCII in a value": get(b"X: \xff\xfe"),
    "empty value": get(b"X:"),
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
    """What came of a case.

    Attributes:
        statuses: Of all answers.
        seconds: Until the connection was closed.
        problems: Answers with problem details.
    """

    statuses: list[int]
    seconds: float
    problems: int


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
        statuses = [int(status) for status in LINE.findall(answer)]
        problems = answer.count(b"application/problem+json")
        return Outcome(statuses, time.monotonic() - started, problems)

    cases = REFUSED | TAKEN | {f"answered {name}": sent for name, (sent, _) in ANSWERED.items()}
    with ThreadPoolExecutor(len(cases)) as pool:
        return dict(zip(cases, pool.map(outcome, cases.values()), strict=True))


@pytest.mark.parametrize("name", REFUSED)
def test_refused(outcomes: dict[str, Outcome], name: str) -> None:
    outcome = outcomes[name]
    assert len(outcome.statuses) <= 1
    assert all(400 <= status < 500 for status in outcome.statuses)
    assert outcome.problems == len(outcome.statuses)
    assert outcome.seconds < DEADLINE_SECONDS


@pytest.mark.parametrize("name", TAKEN)
def test_taken(outcomes: dict[str, Outcome], name: str) -> None:
    outcome = outcomes[name]
    assert len(outcome.statuses) == 1
    assert 200 <= outcome.statuses[0] < 500
    assert outcome.seconds < DEADLINE_SECONDS


@pytest.mark.parametrize("name", ANSWERED)
def test_answered(outcomes: dict[str, Outcome], name: str) -> None:
    outcome = outcomes[f"answered {name}"]
    assert outcome.statuses == ANSWERED[name][1]
    assert outcome.seconds < DEADLINE_SECONDS


@pytest.mark.parametrize("kind", ["host", "target"])
def test_no_host_and_no_target_are_bad_requests(outcomes: dict[str, Outcome], kind: str) -> None:
    """The client is told, and not left with a closed connection."""
    found = {name: o.statuses for name, o in outcomes.items() if name.startswith(f"{kind} ")}
    assert {name for name, statuses in found.items() if statuses != [400]} == set()


def test_nothing_hidden_was_seen(fleet: Fleet, outcomes: dict[str, Outcome]) -> None:
    assert [line for line in fleet.logged("request") if line["path"] == "/hidden"] == []
    fleet.assert_settled()
