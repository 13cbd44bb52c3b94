"""Errors of one HTTP/2 stream: the stream is reset, and all others on its connection go on.

RFC 9113, 5.4.2 and 8.1.1. The compression state stays in step: the header block of a request that
is refused is decoded all the same, and later requests refer to its fields.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated
from hpack import Encoder
from hyperframe.frame import DataFrame, HeadersFrame, PriorityFrame, WindowUpdateFrame

from tests.server.conftest import LOOPS
from tests.server.http2_client import KIB, http2
from tests.waiting import comes_to_nothing

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Servers
    from tests.server.http2_client import Http2Client
    from tests.server_process import ServerProcess

Headers = list[tuple[str, str]]

GET = [(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", "/healthz")]
POST = [(":method", "POST"), *GET[1:3], (":path", "/upload")]

#: A field that enters the compression table with a malformed request, and is referred to later.
MARK = ("x-mark", "remembered by both ends")


def without(name: str) -> Headers:
    return [(n, v) for n, v in GET if n != name]


#: Requests without a body.
MALFORMED = {
    "without a path": without(":path"),
    "without a method": without(":method"),
    "without a scheme": without(":scheme"),
    "without an authority": without(":authority"),
    "without pseudo-header fields": [("x", "y")],
    "without any field": [],
    "two paths": [*GET, (":path", "/")],
    "two methods": [*GET, (":method", "GET")],
    "two schemes": [*GET, (":scheme", "http")],
    "two authorities": [*GET, (":authority", "other")],
    "another host": [*GET, ("host", "other")],
    "empty path": [*without(":path"), (":path", "")],
    "empty method": [*without(":method"), (":method", "")],
    "pseudo-header field last": [*without(":path"), ("x", "y"), (":path", "/")],
    "unknown pseudo-header field": [*GET, (":other", "x")],
    "empty pseudo-header field": [*GET, (":", "x")],
    "field of an answer": [*GET, (":status", "200")],
    "protocol without CONNECT": [*GET, (":protocol", "websocket")],
    "upper case": [*GET, ("X-Upper", "y")],
    "connection": [*GET, ("connection", "keep-alive")],
    "keep-alive": [*GET, ("keep-alive", "1")],
    "proxy-connection": [*GET, ("proxy-connection", "close")],
    "transfer-encoding": [*GET, ("transfer-encoding", "chunked")],
    "upgrade": [*GET, ("upgrade", "h2c")],
    "te": [*GET, ("te", "gzip")],
    "te with trailers": [*GET, ("te", "trailers, gzip")],
    "empty name": [*GET, ("", "y")],
    "space in a name": [*GET, ("a b", "y")],
    "colon in a name": [*GET, ("a:b", "y")],
    "no token for a name": [*GET, ("a(b)", "y")],
    "name above ASCII": [*GET, ("\xe4", "y")],
    "line feed in a value": [*GET, ("a", "b\nc: d")],
    "carriage return in a value": [*GET, ("a", "b\rc")],
    "NUL in a value": [*GET, ("a", "b\x00c")],
    "escape in a value": [*GET, ("a", "\x1b]0;c")],
    "space before a value": [*GET, ("a", " b")],
    "tab behind a value": [*GET, ("a", "b\t")],
    "path above ASCII": [*without(":path"), (":path", "/\xe4")],
    "space in a path": [*without(":path"), (":path", "/a b")],
    "method that is none": [*without(":method"), (":method", "G T")],
    "method above ASCII": [*without(":method"), (":method", "G\xc4T")],
    "length that is no number": [*GET, ("content-length", "five")],
    "length below nothing": [*GET, ("content-length", "-1")],
    "two lengths": [*GET, ("content-length", "0"), ("content-length", "1")],
    "length without a body": [*GET, ("content-length", "9")],
}

#: Other reasons to refuse a request.
REFUSED = {
    "header list too large": (
        [*GET, *(("x-a", "y" * KIB) for _ in range(40))],
        ErrorCodes.ENHANCE_YOUR_CALM,
    ),
    "too many fields": ([*GET, *(("x-a", "") for _ in range(200))], ErrorCodes.ENHANCE_YOUR_CALM),
    "tunnel": ([(":method", "CONNECT"), (":authority", "a:80")], ErrorCodes.CONNECT_ERROR),
    "tunnel with a path": ([(":method", "CONNECT"), *GET[1:]], ErrorCodes.PROTOCOL_ERROR),
}

REQUESTS = {name: (headers, ErrorCodes.PROTOCOL_ERROR) for name, headers in MALFORMED.items()}
REQUESTS |= REFUSED


def trailers(client: Http2Client, stream: int, headers: Headers, *, end: bool = True) -> None:
    flags = ["END_HEADERS", *["END_STREAM"] * end]
    client.frame(HeadersFrame(stream, client.h2.encoder.encode(headers), flags=flags))


def field_of_an_interim_answer(client: Http2Client) -> int:
    """In a frame that the library would not send, on a stream that it takes for its own."""
    stream: int = client.h2.get_next_available_stream_id()
    client.h2.encoder, encoder = Encoder(), client.h2.encoder
    client.h2.send_headers(stream, GET, end_stream=True)
    client.h2.clear_outbound_data_buffer()
    client.h2.encoder = encoder
    trailers(client, stream, [(":status", "103"), *GET, MARK])
    return stream


def length(size: int) -> Headers:
    return [*POST, ("content-length", str(size))]


def body_too_long(client: Http2Client) -> int:
    stream = client.open(length(3), end=False)
    client.frame(*[DataFrame(stream, b"12345")] * 3, DataFrame(stream, b"", flags=["END_STREAM"]))
    return stream


def body_too_short(client: Http2Client) -> int:
    stream = client.open(length(9), end=False)
    client.frame(DataFrame(stream, b"12345", flags=["END_STREAM"]))
    return stream


def body_that_trailers_cut(client: Http2Client) -> int:
    stream = client.open(length(9), end=False)
    client.frame(DataFrame(stream, b"12345"))
    trailers(client, stream, [("x", "y")])
    return stream


def trailers_that_do_not_end(client: Http2Client) -> int:
    stream = client.open(POST, end=False)
    trailers(client, stream, [("x", "y")], end=False)
    return stream


def trailers_with_pseudo_header_fields(client: Http2Client) -> int:
    stream = client.open(POST, end=False)
    trailers(client, stream, [*POST, MARK])
    return stream


def trailers_in_upper_case(client: Http2Client) -> int:
    stream = client.open(POST, end=False)
    trailers(client, stream, [("X", "y")])
    return stream


def trailers_of_a_connection(client: Http2Client) -> int:
    stream = client.open(POST, end=False)
    trailers(client, stream, [("transfer-encoding", "chunked")])
    return stream


def trailers_that_change_the_length(client: Http2Client) -> int:
    stream = client.open(length(9), end=False)
    client.frame(DataFrame(stream, b"12345"))
    trailers(client, stream, [("content-length", "5")])
    return stream


def window_by_nothing(client: Http2Client) -> int:
    stream = client.open(POST, end=False)
    frame = WindowUpdateFrame(stream, 1).serialize()
    client.raw(frame[:-4] + bytes(4))
    return stream


def window_that_overflows(client: Http2Client) -> int:
    stream = client.open(POST, end=False)
    client.frame(*[WindowUpdateFrame(stream, 2**31 - 1)] * 2)
    return stream


def priority_of_another_size(client: Http2Client) -> int:
    stream = client.open(POST, end=False)
    frame = PriorityFrame(stream, depends_on=0, stream_weight=1).serialize()
    client.raw(b"\x00\x00\x04" + frame[3:-1])
    return stream


def ended_and_unanswered(client: Http2Client) -> int:
    """Ends a request whose answer waits for its window."""
    sent = client.request("POST", "/upload", end=False)
    client.send(sent, bytes(256 * KIB), end=True)
    [file] = json.loads(client.answer(sent).body)["files"]
    stream = client.request("GET", file["url"])
    client.stalled.add(stream)
    client.until(lambda: client.answers[stream].body)
    return stream


def body_behind_the_end(client: Http2Client) -> int:
    stream = ended_and_unanswered(client)
    client.frame(DataFrame(stream, b"x"))
    return stream


def headers_behind_the_end(client: Http2Client) -> int:
    stream = ended_and_unanswered(client)
    trailers(client, stream, [("x", "y"), MARK])
    return stream


PROTOCOL_ERROR = ErrorCodes.PROTOCOL_ERROR

#: Errors that come after a good beginning.
LATER: dict[Callable[[Http2Client], int], ErrorCodes] = {
    field_of_an_interim_answer: PROTOCOL_ERROR,
    body_too_long: PROTOCOL_ERROR,
    body_too_short: PROTOCOL_ERROR,
    body_that_trailers_cut: PROTOCOL_ERROR,
    trailers_that_do_not_end: PROTOCOL_ERROR,
    trailers_with_pseudo_header_fields: PROTOCOL_ERROR,
    trailers_in_upper_case: PROTOCOL_ERROR,
    trailers_of_a_connection: PROTOCOL_ERROR,
    trailers_that_change_the_length: PROTOCOL_ERROR,
    window_by_nothing: PROTOCOL_ERROR,
    window_that_overflows: ErrorCodes.FLOW_CONTROL_ERROR,
    priority_of_another_size: ErrorCodes.FRAME_SIZE_ERROR,
    body_behind_the_end: ErrorCodes.STREAM_CLOSED,
    headers_behind_the_end: ErrorCodes.STREAM_CLOSED,
}


@pytest.fixture(params=LOOPS)
def server(request: pytest.FixtureRequest, shared_server: Servers) -> ServerProcess:
    return shared_server(loop=request.param)


def reset_alone(server: ServerProcess, misbehave: Callable[[Http2Client], int]) -> int:
    """Resets one stream between others that are served; gives the code."""
    with http2(server, lax=True) as client:
        sending = client.request("POST", "/upload", MARK, end=False)
        client.send(sending, bytes(10 * KIB))
        code = client.answer(misbehave(client)).ended
        client.send(sending, bytes(10 * KIB), end=True)
        [file] = json.loads(client.answer(sending).body)["files"]
        assert file["size"] == 20 * KIB
        answer = client.answer(client.request("GET", "/healthz", MARK))
        assert (answer.status, answer.ended) == (200, "end")
        assert not [event for event in client.events if isinstance(event, ConnectionTerminated)]
    assert isinstance(code, int)
    return code


@pytest.mark.parametrize("name", REQUESTS)
def test_malformed_request(server: ServerProcess, name: str) -> None:
    headers, code = REQUESTS[name]
    assert reset_alone(server, lambda client: client.open([*headers, MARK], end=True)) == code


@pytest.mark.parametrize("misbehave", LATER, ids=lambda kind: kind.__name__)
def test_later_error(server: ServerProcess, misbehave: Callable[[Http2Client], int]) -> None:
    assert reset_alone(server, misbehave) == LATER[misbehave]


def test_one_stream_too_many(server: ServerProcess) -> None:
    """Is refused, and may be tried again (RFC 9113, 5.1.2 and 8.7)."""
    with http2(server, lax=True) as client:
        client.h2.remote_settings.max_concurrent_streams = 1000
        client.h2.remote_settings.acknowledge()
        held = [client.open(POST, end=False) for _ in range(100)]
        late = client.open([*GET, MARK], end=True)
        assert client.answer(late).ended == ErrorCodes.REFUSED_STREAM
        client.h2.end_stream(held[0])
        client.flush()
        assert client.answer(held[0]).ended == "end"
        assert client.answer(client.open([*GET, MARK], end=True)).status == 200


def test_all_kinds_on_one_connection(server: ServerProcess) -> None:
    """And the compression state is in step all along."""
    with http2(server, lax=True) as client:
        for headers, code in REQUESTS.values():
            refused = client.open([*headers, MARK], end=True)
            assert client.answer(refused).ended == code
            assert client.answer(client.open([*GET, MARK], end=True)).status == 200


def test_body_of_another_length_is_not_kept(server: ServerProcess) -> None:
    before = server.rows().keys()
    with http2(server, lax=True) as client:
        for kind in (body_too_long, body_too_short, body_that_trailers_cut):
            assert client.answer(kind(client)).ended == PROTOCOL_ERROR
        comes_to_nothing(server.parts)
    assert server.rows().keys() == before
