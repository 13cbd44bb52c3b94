"""WebSocket handshakes over HTTP/1.1 and HTTP/2: each ends, and its connection with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.e2e.clients import wire
from tests.server.http2_client import http2

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.server.conftest import RawServer
    from tests.server.http2_client import Http2Client
    from tests.server_process import ServerProcess

HANDSHAKE = (
    "Connection: keep-alive, Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)

#: Bytes behind a handshake, before its answer.
EARLY = [b"", b"x", b"\x81\x00" * 1000]

#: Ways in which an application does not accept, with the statuses that may come.
REFUSALS = {"close": {403}, "response": {404}, "half": {404}, "never": {503}}


def ask(client: Http2Client, target: str, *headers: tuple[str, str]) -> int:
    """Opens a stream with a handshake (RFC 8441)."""
    stream: int = client.h2.get_next_available_stream_id()
    pseudo = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http")]
    names = [(":path", target), (":authority", "test"), ("sec-websocket-version", "13")]
    client.h2.send_headers(stream, [*pseudo, *names, *headers])
    client.flush()
    return stream


@pytest.mark.parametrize("early", EARLY)
@pytest.mark.parametrize("how", REFUSALS)
def test_refused(ours: RawServer, how: str, early: bytes) -> None:
    """The fixture sees connections, tasks and descriptors that stay behind."""
    with wire(ours) as client:
        client.request(f"GET /shake?how={how}", *HANDSHAKE, body=early)
        response = client.response("GET")
        assert response.status in REFUSALS[how] | ({400} if early else set())
        while client.socket.recv(65536):
            pass


@pytest.mark.parametrize("early", [b"", b"x"])
@pytest.mark.parametrize("how", REFUSALS)
def test_refused_over_http2(ours: RawServer, how: str, early: bytes) -> None:
    with http2(ours) as client:
        stream = ask(client, f"/shake?how={how}")
        if early:
            client.send(stream, early)
        answer = client.answer(stream)
        assert answer.status in REFUSALS[how] | ({400} if early else set())
        assert answer.ended == ("end" if answer.status == 400 or how != "half" else 2)
        assert client.get("/extensions").status == 200


def test_refused_over_http2_with_a_shut_window(ours: RawServer) -> None:
    """The refusal waits for the window, and the connection does not."""
    with http2(ours, window=0) as client:
        stream = ask(client, "/shake?how=never")
        client.send(stream, b"x")
        assert client.ping()
        client.h2.increment_flow_control_window(1000, stream)
        client.flush()
        assert client.answer(stream).status == 400


@pytest.mark.parametrize("target", ["?x", "http://[x/", "x"])
def test_malformed_target(ours: RawServer, target: str) -> None:
    with wire(ours) as client:
        client.request(f"GET {target}", *HANDSHAKE)
        assert client.problem() == (400, "bad_request")
        assert client.socket.recv(1) == b""


@pytest.mark.parametrize("headers", [HANDSHAKE[:-1], HANDSHAKE[:2]])
def test_malformed_handshake(ours: RawServer, headers: tuple[str, ...]) -> None:
    with wire(ours) as client:
        client.request("GET /accept", *headers)
        assert client.problem() == (400, "bad_request")
        assert client.socket.recv(1) == b""


def test_malformed_handshake_over_http2(ours: RawServer) -> None:
    with http2(ours) as client:
        stream = ask(client, "/accept", ("sec-websocket-version", "12"))
        answer = client.answer(stream)
        assert (answer.status, json.loads(answer.body)["code"]) == (400, "bad_request")


def test_accepted(ours: RawServer) -> None:
    with wire(ours) as client:
        client.request("GET /accept", *HANDSHAKE)
        assert client.socket.recv(1000).startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        client.send(b"\x81\x82\x00\x00\x00\x00hi")
        assert client.socket.recv(1000) == b"\x81\x02hi"
        client.send(b"\x88\x80\x00\x00\x00\x00")
        assert client.socket.recv(1000).startswith(b"\x88")


def test_version_1_0_cannot_upgrade(ours: RawServer) -> None:
    """A server ignores `Upgrade` there (RFC 9110, 7.8)."""
    with wire(ours) as client:
        head = "\r\n".join(["GET /extensions HTTP/1.0", *HANDSHAKE, "", ""])
        client.send(head.encode())
        assert client.response("GET").status == 200


@pytest.mark.parametrize("early", [b"", b"x"])
def test_stop_does_not_wait_for_refused_ones(
    start: Callable[..., ServerProcess], early: bytes
) -> None:
    """The clients leave their connections open, and are not waited for as transfers are."""
    server = start(settings={"drain": 60})
    with wire(server) as first, wire(server) as second, http2(server) as third:
        for client in (first, second):
            client.request("GET /nowhere", *HANDSHAKE, body=early)
            assert client.response("GET").status in {400, 404}
        stream = ask(third, "/nowhere")
        if early:
            third.send(stream, early)
        assert third.answer(stream).status in {400, 404}
        assert server.stop(seconds=20) < 20
