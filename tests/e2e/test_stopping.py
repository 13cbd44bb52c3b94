"""SIGTERM and SIGINT: no new work, running transfers end within their time, then a clean exit."""

from __future__ import annotations

import signal
import socket
import time
from threading import Thread
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.e2e.clients import MIB, content, session, upload, wire
from tests.server_process import SERVE, WATCHED
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.server_process import ServerProcess

    Start = Callable[..., ServerProcess]

BYTES = content(32 * MIB)

#: A small window, so that most of a download is still to be sent.
WINDOW = 65536


def listening(server: ServerProcess) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((server.host, server.port)) == 0


@pytest.mark.parametrize(("number", "command"), [(signal.SIGTERM, SERVE), (signal.SIGINT, WATCHED)])
def test_idle(start: Start, number: int, command: tuple[str, ...]) -> None:
    server = start(command=command)
    with session(server) as client, wire(server), wire(server) as half:
        half.send(b"GET /healthz HTT")
        assert client.get("/healthz").status_code == 200
        assert server.stop(number) < 5


def test_transfers_end(start: Start) -> None:
    server = start(settings={"drain": 30})
    with session(server) as client:
        path = upload(client, BYTES)["url"]
    with wire(server, WINDOW) as down, wire(server) as up:
        down.request(f"GET {path}")
        response = down.response("GET")
        assert response.read(MIB) == BYTES[:MIB]
        up.request("POST /upload", f"Content-Length: {len(BYTES)}", body=BYTES[:MIB])
        eventually(server.parts, what="the upload begins")
        server.process.terminate()
        eventually(lambda: not listening(server), what="no new connections")
        up.send(BYTES[MIB:])
        assert up.response().status == 201
        assert response.read() == BYTES[MIB:]
    server.assert_ends_well(seconds=10)
    assert len(server.rows()) == 2


def test_transfers_that_take_too_long_are_cut(start: Start) -> None:
    server = start(settings={"drain": 1})
    with session(server) as client:
        path = upload(client, BYTES)["url"]
    with wire(server, WINDOW) as down, wire(server, WINDOW) as other, wire(server) as up:
        for reader in (down, other):
            reader.request(f"GET {path}")
            assert reader.response("GET").read(MIB) == BYTES[:MIB]
        up.request("POST /upload", f"Content-Length: {len(BYTES)}", body=BYTES[:MIB])
        eventually(server.parts, what="the upload begins")
        assert 1 <= server.stop() < 12
    assert len(server.rows()) == len(server.blobs()) == 1


def test_stops_while_uploads_come_in(start: Start) -> None:
    """What was acknowledged is there afterwards, and nothing else."""
    server = start()
    acknowledged: list[str] = []

    def keep_uploading() -> None:
        try:
            while True:
                with session(server) as client:
                    acknowledged.append(upload(client, BYTES[:100_000])["id"])
        except httpx.TransportError:
            pass

    threads = [Thread(target=keep_uploading) for _ in range(4)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(acknowledged) > 20, what="uploads are going on")
    server.stop()
    for thread in threads:
        thread.join()
    assert set(acknowledged) <= server.rows().keys() == server.blobs().keys()


def test_second_signal_ends_at_once(start: Start) -> None:
    server = start(settings={"drain": 60})
    with session(server) as client:
        path = upload(client, BYTES)["url"]
    with wire(server, WINDOW) as down:
        down.request(f"GET {path}")
        down.response("GET")
        server.process.terminate()
        eventually(lambda: not listening(server), what="no new connections")
        started = time.monotonic()
        server.process.terminate()
        assert server.process.wait(5) != 0
        assert time.monotonic() - started < 5
