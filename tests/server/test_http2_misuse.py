"""Clients that break the rules of HTTP/2: they may lose their connection, and nobody else does.

No request of theirs is answered 5xx, nothing hangs, leaks or is logged as an error.
"""

from __future__ import annotations

import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.e2e.clients import MIB, session
from tests.server.conftest import LOOPS
from tests.server.http2_client import http2
from tests.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Idle connections are closed after 5 seconds.
DEADLINE_SECONDS = 20

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

#: Its acknowledgement shows that all before it was looked at.
LAST = b"the last"

GET = [(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", "/healthz")]
POST = [(":method", "POST"), *GET[1:3], (":path", "/upload")]

END_HEADERS, END_STREAM = "END_HEADERS", "END_STREAM"

Headers = list[tuple[str, str]]


def raw(kind: int, flags: int, stream: int, body: bytes, length: int | None = None) -> bytes:
    """A frame that no library would make."""
    size = len(body) if length is None else length
    return struct.pack(">I", size)[1:] + struct.pack(">BBI", kind, flags, stream) + body


def block(headers: Headers) -> bytes:
    """A header block on its own: nothing in it refers to another."""
    encoder = Encoder()
    encoder.header_table_size = 0
    return encoder.encode(headers)


def opened(headers: Headers = POST, stream: int = 1, flags: Iterable[str] = ()) -> bytes:
    return HeadersFrame(stream, block(headers), flags=[END_HEADERS, *flags]).serialize()


def requested(headers: Headers = GET, stream: int = 1) -> bytes:
    return opened(headers, stream, [END_STREAM])


def frames(*those: Frame | bytes) -> bytes:
    return b"".join(one if isinstance(one, bytes) else one.serialize() for one in those)


def without(name: str) -> Headers:
    return [(n, v) for n, v in GET if n != name]


def streams(count: int, *rest: Frame | bytes) -> bytes:
    return frames(*(opened(stream=2 * number + 1) for number in range(count)), *rest)


BOMB = HeadersFrame(1, b"", flags=[END_HEADERS, END_STREAM])
# One entry of 4,000 bytes in the table of headers, then 20,000 references to it.
BOMB.data = block(GET) + b"\x3f\xe1\x1f\x40\x01x\x7f\x81\x1e" + b"y" * 4000 + b"\xbe" * 20_000


#: To be ended: with GOAWAY, or without a word.
ENDED = {
    "data on an idle stream": frames(DataFrame(1, b"x")),
    "data on stream 0": raw(0, 0, 0, b"x"),
    "headers on stream 0": raw(1, 5, 0, block(GET)),
    "headers on an even stream": requested(stream=2),
    "stream that goes backwards": requested(stream=5) + requested(stream=3),
    "window of an idle stream": frames(WindowUpdateFrame(1, 5)),
    "window by nothing": raw(8, 0, 0, bytes(4)),
    "window of the connection overflows": frames(*[WindowUpdateFrame(0, 2**31 - 1)] * 2),
    "window of 3 bytes": raw(8, 0, 0, bytes(3)),
    "reset of an idle stream": frames(RstStreamFrame(1, 0)),
    "reset of stream 0": raw(3, 0, 0, bytes(4)),
    "settings of 5 bytes": raw(4, 0, 0, bytes(5)),
    "settings on a stream": raw(4, 0, 1, b""),
    "acknowledgement with settings": raw(4, 1, 0, bytes(6)),
    "settings with push 2": frames(SettingsFrame(0, {2: 2})),
    "settings with a window too large": frames(SettingsFrame(0, {4: 2**31})),
    "settings with a frame too small": frames(SettingsFrame(0, {5: 100})),
    "settings that overflow a window": opened()
    + frames(WindowUpdateFrame(1, 2**31 - 1 - 65_535), SettingsFrame(0, {4: 65_536})),
    "ping of 7 bytes": raw(6, 0, 0, bytes(7)),
    "ping on a stream": raw(6, 0, 1, bytes(8)),
    "push from a client": frames(PushPromiseFrame(1, 2, block(GET), flags=[END_HEADERS])),
    "continuation of nothing": frames(ContinuationFrame(1, block(GET), flags=[END_HEADERS])),
    "frame inside a header block": frames(HeadersFrame(1, block(GET)), PingFrame(0, bytes(8))),
    "header block of many frames": frames(
        HeadersFrame(1, block(GET)), *[ContinuationFrame(1, bytes(16_000))] * 60
    ),
    "continuations without end": frames(
        HeadersFrame(1, block(GET)), *[ContinuationFrame(1, b"\x40\x01x\x01y")] * 100_000
    ),
    "empty continuations without end": frames(
        HeadersFrame(1, block(GET)), *[ContinuationFrame(1, b"")] * 10_000
    ),
    "huge header block": requested([*GET, *(("x-a", "y" * 1000) for _ in range(200))]),
    "header bomb": frames(BOMB),
    "header block that is none": raw(1, 5, 1, b"\xff" * 20),
    "frame too large": raw(0, 0, 1, b"", length=2**24 - 1) + bytes(MIB),
    "padding longer than the frame": opened() + raw(0, 8, 1, b"\xffx"),
    "preface with a flaw": b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    "client says goodbye": requested() + frames(GoAwayFrame(0, 0)),
    "empty data without end": opened() + frames(*[DataFrame(1, b"")] * 10_000),
    "settings flood": frames(*[SettingsFrame(0, {1: 0}), SettingsFrame(0, {1: 1})] * 5000),
    "rapid reset": frames(
        *(
            part
            for number in range(3000)
            for part in (opened(stream=2 * number + 1), RstStreamFrame(2 * number + 1, 8))
        )
    ),
    "ping flood": frames(*[PingFrame(0, bytes(8))] * 5000),
    "priority flood": frames(
        *(PriorityFrame(2 * number + 1, depends_on=0, stream_weight=3) for number in range(5000))
    ),
    "many settings at once": raw(4, 0, 0, b"".join(struct.pack(">HI", n, 1) for n in range(40))),
}

#: To be put up with: the connection lives, even if a stream does not.
BORNE = {
    "data on a closed stream": opened([*POST[:3], (":path", "/nowhere")], flags=[END_STREAM])
    + frames(*[DataFrame(1, b"x")] * 3),
    "data on a stream that was reset": opened() + frames(RstStreamFrame(1, 8), DataFrame(1, b"x")),
    "window of a stream overflows": opened() + frames(*[WindowUpdateFrame(1, 2**31 - 1)] * 2),
    "window of a closed stream": opened() + frames(RstStreamFrame(1, 8), WindowUpdateFrame(1, 5)),
    "reset twice": opened() + frames(*[RstStreamFrame(1, 8)] * 2),
    "priority of idle streams": frames(
        *(PriorityFrame(2 * number + 1, depends_on=0, stream_weight=3) for number in range(500))
    ),
    "priority of a stream on itself": frames(PriorityFrame(1, depends_on=1))
    + HeadersFrame(
        1, block(GET), depends_on=1, flags=[END_HEADERS, END_STREAM, "PRIORITY"]
    ).serialize(),
    "priority of a stream on one unknown": frames(PriorityFrame(1, depends_on=99)) + requested(),
    "priority of a stream that is closed": opened()
    + frames(RstStreamFrame(1, 8), PriorityFrame(1, depends_on=3)),
    "priority in a circle": frames(
        PriorityFrame(1, depends_on=3), PriorityFrame(3, depends_on=1), PriorityFrame(1, 3)
    )
    + requested(),
    "unknown frames": raw(99, 255, 7, b"x" * 100) * 100,
    "unknown settings": frames(SettingsFrame(0, {99: 2**32 - 1})),
    "header table of any size": frames(SettingsFrame(0, {1: 2**32 - 1})) + requested(),
    "window of nothing": frames(SettingsFrame(0, {4: 0})) + requested(),
    "pings": frames(*[PingFrame(0, bytes(8))] * 500),
    "more streams than allowed": streams(101),
    "path without a slash": requested([*without(":path"), (":path", "healthz")]),
    "asterisk": requested([(":method", "OPTIONS"), *without(":path")[1:], (":path", "*")]),
    "websocket": opened([(":method", "CONNECT"), (":protocol", "websocket"), *GET[1:],
                         ("sec-websocket-version", "13")]),
    "websocket of another version": opened(
        [(":method", "CONNECT"), (":protocol", "websocket"), *GET[1:]]
    ),
    "data of one byte": opened() + frames(*[DataFrame(1, b"x")] * 20_000),
    "padding alone": opened()
    + frames(*[DataFrame(1, b"", pad_length=100, flags=["PADDED"])] * 500),
    "as many streams as allowed": streams(100),
    "half a frame": b"",
}  # fmt: skip


@dataclass
class Outcome:
    """What a client sees: answers, and whether the connection ends or goes on."""

    statuses: list[int] = field(default_factory=list)
    alive: bool = False
    ended: bool = False
    seconds: float = 0.0


def outcome(server: ServerProcess, name: str) -> Outcome:
    misuse = (ENDED | BORNE)[name]
    whole = PREFACE + SettingsFrame(0).serialize() + misuse
    if misuse.startswith(b"PRI"):
        whole = misuse
    started, found, decoder = time.monotonic(), Outcome(), Decoder()
    decoder.max_allowed_table_size = 2**32  # as one of them says
    with closing(socket.create_connection((server.host, server.port))) as connection:
        connection.settimeout(DEADLINE_SECONDS)
        try:
            connection.sendall(whole + PingFrame(0, LAST).serialize())
            received = b""
            while not (found.alive or found.ended):
                data = connection.recv(65536)
                received = _read(found, decoder, received + data)
                found.ended = found.ended or not data
        except ConnectionError:
            found.ended = True
        except TimeoutError:
            pass
    found.seconds = time.monotonic() - started
    return found


def _read(found: Outcome, decoder: Decoder, received: bytes) -> bytes:
    """Notes what whole frames say, and gives the rest."""
    while len(received) >= 9:
        frame, length = Frame.parse_frame_header(memoryview(received[:9]))
        if len(received) < 9 + length:
            break
        frame.parse_body(memoryview(received[9 : 9 + length]))
        received = received[9 + length :]
        found.ended = found.ended or isinstance(frame, GoAwayFrame)
        found.alive = found.alive or (isinstance(frame, PingFrame) and frame.opaque_data == LAST)
        if isinstance(frame, HeadersFrame):
            found.statuses.append(int(dict(decoder.decode(frame.data, raw=True))[b":status"]))
    return received


@pytest.fixture(scope="module", params=LOOPS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path_factory.mktemp("server"), {"loop": request.param})
    try:
        server.ready()
        yield server
        server.stop()
    finally:
        server.kill()


@pytest.fixture(scope="module")
def outcomes(server: ServerProcess) -> dict[str, Outcome]:
    """What came of every case, all at once."""
    names = [*ENDED, *BORNE]
    with ThreadPoolExecutor(8) as pool:
        return dict(zip(names, pool.map(lambda n: outcome(server, n), names), strict=True))


@pytest.mark.parametrize("name", ENDED)
def test_ended(outcomes: dict[str, Outcome], name: str) -> None:
    outcome = outcomes[name]
    assert outcome.ended, outcome
    assert all(status < 500 for status in outcome.statuses)


@pytest.mark.parametrize("name", BORNE)
def test_borne(outcomes: dict[str, Outcome], name: str) -> None:
    outcome = outcomes[name]
    assert outcome.alive, outcome
    assert not outcome.ended
    assert all(status < 500 for status in outcome.statuses)


def test_nothing_is_left(server: ServerProcess, outcomes: dict[str, Outcome]) -> None:
    server.assert_settled()
    with session(server) as client:
        assert client.get("/healthz").status_code == 200
    with http2(server) as other:
        assert other.get("/healthz").status == 200
