"""Where this project leans on the insides of others, and what it makes of h11."""

from __future__ import annotations

import asyncio
import importlib
from itertools import pairwise
from typing import Any

import h11
import hypercorn.protocol
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.frame_buffer import FrameBuffer
from h2.stream import H2Stream
from h11._readers import ChunkedReader, ContentLengthReader
from hpack import Decoder
from hyperframe.frame import DataFrame
from hypothesis import given, settings
from hypothesis import strategies as st
from quart.asgi import ASGIHTTPConnection

from quart_app.protocol.http1 import BulkConnection
from quart_app.server.connection import HALF_CLOSED_SECONDS, Connection
from quart_app.server.http2_connection import Http2Connection
from quart_app.server.seams import SEAMS, fix_hypercorn
from quart_app.streaming import StreamingConnection

REQUEST = b"POST / HTTP/1.1\r\nHost: test\r\n"


class TestHypercorn:
    @pytest.fixture(autouse=True)
    def restored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Every seam is as it was afterwards."""
        for module_name, name, _ in SEAMS:
            module = importlib.import_module(module_name)
            monkeypatch.setattr(module, name, getattr(module, name))

    def test_fixed_as_often_as_anybody_likes(self) -> None:
        fix_hypercorn()
        fix_hypercorn()
        for module_name, name, replacement in SEAMS:
            found = getattr(importlib.import_module(module_name), name)
            assert (found.ours, found.stock) == (replacement, replacement.__mro__[1])

    def test_fixed_for_as_long_as_said(self) -> None:
        for seconds in (1.5, None, HALF_CLOSED_SECONDS):
            fix_hypercorn(half_closed_timeout=seconds)
            assert Connection.half_closed_timeout == seconds

    @pytest.mark.parametrize(("module_name", "name", "replacement"), SEAMS)
    def test_unknown_one_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, module_name: str, name: str, replacement: type
    ) -> None:
        module = importlib.import_module(module_name)
        for stranger in (None, type("Stranger", (), {})):
            monkeypatch.setattr(module, name, stranger)
            with pytest.raises(RuntimeError, match=f"Hypercorn has no {module_name}.{name} "):
                fix_hypercorn()
        monkeypatch.delattr(module, name)
        with pytest.raises(RuntimeError, match=f"Hypercorn has no {module_name}.{name} "):
            fix_hypercorn()

    @pytest.mark.parametrize(("module_name", "name", "replacement"), SEAMS)
    def test_methods_that_are_overridden_exist(
        self, module_name: str, name: str, replacement: type
    ) -> None:
        """What Hypercorn no longer calls would silently be of no effect."""
        stock = replacement.__mro__[1]
        assert stock.__module__.startswith("hypercorn.")
        assert overridden(replacement) == OVERRIDDEN[stock.__name__]
        called = CALLED.get(stock.__name__, set())
        assert {name for name in called if not hasattr(stock, name)} == set()


@pytest.mark.asyncio(loop_scope="function")
async def test_streams_keep_whether_they_have_ended() -> None:
    reader = asyncio.StreamReader()
    assert vars(reader)["_eof"] is False
    reader.feed_eof()
    assert vars(reader)["_eof"] is True


def test_methods_of_quart_that_are_overridden_exist() -> None:
    assert overridden(StreamingConnection) == {
        "handle_messages",
        "handle_request",
        "_send_response",
    }
    assert hasattr(ASGIHTTPConnection, "_create_request_from_scope")


def overridden(replacement: type) -> set[str]:
    stock = replacement.__mro__[1]
    return {
        name
        for name, member in vars(replacement).items()
        if callable(member) and not name.startswith("__") and hasattr(stock, name)
    }


#: What each class of Hypercorn has under this name, and calls itself.
OVERRIDDEN = {
    "TCPServer": {"run", "protocol_send", "_read_data", "_close", "_idle_timeout",
                  "_initiate_server_close"},
    "H11Protocol": {"handle", "stream_send", "_create_stream", "_check_protocol",
                    "_maybe_recycle", "_send_error_response"},
    "H2Protocol": {"initiate", "handle", "stream_send", "_flush", "_handle_events",
                   "_send_data"},
    "HTTPStream": {"handle", "app_send"},
    "WSStream": {"handle", "_send_error_response"},
    "StreamBuffer": {"pop"},
}  # fmt: skip

#: Private methods of Hypercorn that these classes call.
CALLED = {
    "H11Protocol": {"_close_stream", "_send_h11_event"},
    "H2Protocol": {"_close_stream", "_create_stream"},
}


class TestH11:
    """The names that `BulkConnection` reaches for behind h11's doors."""

    def begun(self, head: bytes) -> h11.Connection:
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(REQUEST + head)
        assert isinstance(connection.next_event(), h11.Request)
        return connection

    def test_reader_of_a_length(self) -> None:
        connection = self.begun(b"Content-Length: 5\r\n\r\n")
        assert isinstance(connection._reader, ContentLengthReader)
        assert connection._reader._remaining == 5
        connection._reader._remaining -= 3
        connection.receive_data(b"45")
        assert connection.next_event() == h11.Data(data=b"45")
        assert isinstance(connection.next_event(), h11.EndOfMessage)

    def test_reader_of_chunks(self) -> None:
        connection = self.begun(b"Transfer-Encoding: chunked\r\n\r\n5\r\n1")
        assert connection.next_event() == h11.Data(data=b"1", chunk_start=True)
        assert isinstance(connection._reader, ChunkedReader)
        assert connection._reader._bytes_in_chunk == 4
        connection._reader._bytes_in_chunk -= 3
        connection.receive_data(b"5\r\n0\r\n\r\n")
        assert connection.next_event() == h11.Data(data=b"5", chunk_end=True)
        assert isinstance(connection.next_event(), h11.EndOfMessage)


def test_h2_takes_frames_of_its_own_size() -> None:
    """`Http2` sets it before the client has acknowledged, as h2 looks too late."""
    connection = H2Connection(H2Configuration(client_side=False))
    assert connection.max_inbound_frame_size == 16_384


def test_methods_of_h2_that_are_overridden_exist() -> None:
    assert overridden(Http2Connection) == {
        "receive_data", "send_data", "_receive_frame", "_receive_headers_frame",
        "_receive_data_frame", "_receive_settings_frame", "_receive_priority_frame",
    }  # fmt: skip
    called = {"_get_or_create_stream", "_get_stream_by_id", "_handle_data_on_closed_stream"}
    assert {name for name in called if not hasattr(H2Connection, name)} == set()
    assert {"_data", "_headers_buffer", "_validate_frame_length"} <= set(dir(FrameBuffer()))


def test_h2_looks_up_what_replaces_its_parts() -> None:
    """`Http2Connection` puts its own frame buffer and decoder in their place."""
    connection = H2Connection(H2Configuration(client_side=False))
    assert isinstance(connection.incoming_buffer, FrameBuffer)
    assert isinstance(connection.decoder, Decoder)
    assert DataFrame in connection._frame_dispatch_table
    stream = H2Stream(1, connection.config, 0, 0)
    assert (stream._expected_content_length, stream._actual_content_length) == (None, 0)


def as_sent(data: bytes, sizes: list[int]) -> list[bytes]:
    """Chunks of these sizes, over and over."""
    ends = [0]
    while ends[-1] < len(data):
        ends.append(ends[-1] + sizes[len(ends) % len(sizes)])
    return [data[start:end] for start, end in pairwise(ends)]


def understood(connection: h11.Connection, chunks: list[bytes]) -> list[Any]:
    """What a server sees of a connection on which it answers each request at its end."""
    seen: list[Any] = []
    for chunk in [*chunks, b""]:
        connection.receive_data(chunk)
        while True:
            try:
                event = connection.next_event()
            except h11.RemoteProtocolError as error:
                return [*seen, str(error)]
            if event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
                seen.append(type(event)) if event is not h11.NEED_DATA else None
                break
            if isinstance(event, h11.Data):
                if event.data and isinstance(seen[-1], bytes):
                    seen[-1] += bytes(event.data)
                elif event.data:
                    seen.append(bytes(event.data))
            else:
                seen.append(repr(event))
            if isinstance(event, h11.EndOfMessage):
                connection.send(h11.Response(status_code=204, headers=[]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE:
                    return [*seen, "closes"]
                connection.start_next_cycle()
    return seen


def _with_length(body: bytes) -> bytes:
    return REQUEST + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def _chunked(chunks: list[bytes]) -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return REQUEST + b"Transfer-Encoding: chunked\r\n\r\n" + body + b"0\r\nX: y\r\n\r\n"


bodies = st.binary(max_size=200)
requests = st.one_of(
    st.builds(_with_length, bodies),
    st.builds(_chunked, st.lists(st.binary(min_size=1, max_size=60), max_size=8)),
    st.just(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"),
)
sizes = st.lists(st.integers(1, 100), min_size=1, max_size=10)


class Parsed(BulkConnection):
    """A connection with all bodies through the parser."""

    body_left = 0


class TestBulkConnection:
    """It sees the same events whatever the packets, and of good requests those that h11 sees."""

    @settings(deadline=None, max_examples=300)
    @given(st.lists(requests, max_size=6), sizes)
    def test_good_requests(self, sent: list[bytes], sizes: list[int]) -> None:
        chunks = as_sent(b"".join(sent), sizes)
        stock = understood(h11.Connection(h11.SERVER), chunks)
        assert understood(BulkConnection(h11.SERVER), chunks) == stock

    @settings(deadline=None, max_examples=300)
    @given(st.lists(requests, min_size=1, max_size=4), sizes, st.data())
    def test_damaged_requests(
        self, sent: list[bytes], sizes: list[int], data: st.DataObject
    ) -> None:
        whole = bytearray(b"".join(sent))
        for _ in range(data.draw(st.integers(1, 3))):
            place = data.draw(st.integers(0, len(whole)))
            whole[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        chunks = as_sent(bytes(whole[: data.draw(st.integers(0, len(whole)))]), sizes)
        parsed = understood(Parsed(h11.SERVER), chunks)
        assert understood(BulkConnection(h11.SERVER), chunks) == parsed

    @settings(deadline=None, max_examples=100)
    @given(st.lists(st.sampled_from([b"\r\n", b"\n"]), max_size=9), requests, sizes)
    def test_empty_lines_before_requests(
        self, lines: list[bytes], request_: bytes, sizes: list[int]
    ) -> None:
        sent = b"".join(lines) + request_
        expected = understood(h11.Connection(h11.SERVER), [request_, request_])
        assert understood(BulkConnection(h11.SERVER), as_sent(sent + sent, sizes)) == expected

    def test_bodies_are_not_copied(self) -> None:
        connection = BulkConnection(h11.SERVER)
        connection.receive_data(REQUEST + b"Content-Length: 1000\r\n\r\n")
        connection.next_event()
        chunk = bytes(500)
        connection.receive_data(chunk)
        assert connection.next_event().data is chunk


def test_seams_are_where_hypercorn_looks() -> None:
    """`ProtocolWrapper` finds both protocols in its own module."""
    assert hypercorn.protocol.ProtocolWrapper.__module__ == "hypercorn.protocol"
