"""Clients that leave while an application has nothing to send, and those that only look so."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from quart_app.server.connection import HALF_CLOSED_SECONDS
from tests.e2e.clients import MIB, session, wire
from tests.server.http2_client import http2
from tests.waiting import eventually

if TYPE_CHECKING:
    from tests.server.conftest import RawServer

#: Requests of clients that close their connections: before an answer, and within one.
LEAVING = ("GET /events", "GET /events?count=0", "GET /events?count=3", "POST /events?count=1")


def state(server: RawServer) -> dict[str, list[str]]:
    with session(server) as client:
        found: dict[str, list[str]] = client.get("/state").json()
    return found


def test_clients_that_close_are_told_from_those_that_read(ours: RawServer) -> None:
    """All look the same, a FIN after the request; the fixture sees handlers and sockets end."""
    seconds = int(HALF_CLOSED_SECONDS) + 2
    before = len(state(ours)["seen"])
    with ExitStack() as stack:
        slow = stack.enter_context(wire(ours))
        slow.request(f"GET /drip?count={seconds}&pause=1")
        pausing = stack.enter_context(wire(ours, 64 * 1024))
        pausing.request(f"GET /bytes?size={32 * MIB}")
        with ExitStack() as leaving:
            for line in LEAVING:
                client = leaving.enter_context(wire(ours))
                client.request(line, "Content-Length: 3", body=b"abc")
            eventually(lambda: state(ours)["seen"][before:] == ["waiting"] * len(LEAVING))
        for reader in (slow, pausing):
            reader.end()
        closed = time.monotonic()
        told = ["disconnect, half closed: False"] * len(LEAVING)
        limit = HALF_CLOSED_SECONDS + 10
        eventually(lambda: state(ours)["seen"][before + len(LEAVING) :] == told, seconds=limit)
        assert "/events" not in state(ours)["running"]
        assert time.monotonic() - closed > HALF_CLOSED_SECONDS / 2
        assert slow.response("GET").read().split() == [b"%d" % n for n in range(seconds)]
        assert len(pausing.response("GET").read()) == 32 * MIB


@pytest.mark.parametrize("way", ["reset", "close"])
def test_client_that_closes_while_events_are_sent(ours: RawServer, way: str) -> None:
    before = len(state(ours)["seen"])
    with wire(ours) as client:
        client.request("GET /drip?count=1000&pause=0.05")
        assert client.response("GET").read(1) == b"0"
        getattr(client, way)()
    told = ["disconnect, half closed: False"]
    eventually(lambda: state(ours)["seen"][before:] == told)


def test_client_of_http2_that_closes(ours: RawServer) -> None:
    before = len(state(ours)["seen"])
    with http2(ours) as client:
        client.request("GET", "/events?count=1")
        eventually(lambda: state(ours)["seen"][before:] == ["waiting"])
    told = ["waiting", "disconnect, half closed: False"]
    eventually(lambda: state(ours)["seen"][before:] == told)


class TestCopiedScopes:
    """Hypercorn's `ProxyFixMiddleware` copies them deeply."""

    def test_of_requests(self, ours: RawServer) -> None:
        with session(ours) as client:
            found = client.get("/proxied", headers={"X-Forwarded-For": "192.0.2.1"}).json()
        assert found == {"client": "192.0.2.1", "state": [], "unsent": 0}

    def test_of_websockets(self, ours: RawServer) -> None:
        with wire(ours) as client:
            client.request(
                "GET /proxied",
                "Connection: Upgrade",
                "Upgrade: websocket",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                "X-Forwarded-For: 192.0.2.1",
            )
            received = b""
            while b'"unsent"' not in received or not received.endswith(b"\x88\x02\x03\xe8"):
                piece = client.socket.recv(4096)
                assert piece, received
                received += piece
        head, _, frames = received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        text = frames[2 : 2 + frames[1]]  # RFC 6455, 5.2: a short frame that is not masked
        assert json.loads(text) == {"client": "192.0.2.1", "state": [], "unsent": None}
