"""SIGTERM: what runs comes to its end, and nothing new begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract.api.servers import SERVERS, session, start
from tests.e2e.clients import MIB, Wire, content, sha256, upload, wire
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.server_process import ServerProcess

BYTES = content(8 * MIB)
#: A small window, so that most of a download is still to be sent.
WINDOW = 65_536


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server of the test's own, which the test stops."""
    stopping = start(request.param, tmp_path, {})
    try:
        yield stopping.ready()
    finally:
        stopping.kill()


def refuses(server: ServerProcess) -> bool:
    try:
        with wire(server):
            return False
    except OSError:
        return True


def test_transfers_end(server: ServerProcess) -> None:
    with session(server) as client:
        path = upload(client, BYTES)["url"]
    with wire(server, WINDOW) as down, wire(server) as up:
        down.request(f"GET {path}")
        response = down.response("GET")
        received = response.read(MIB)
        begin_upload(up)
        server.process.terminate()
        up.send(BYTES[MIB:])
        assert sha256(BYTES).encode() in up.response().read()
        assert received + response.read() == BYTES
    server.assert_ends_well()


def test_nobody_is_let_in_to_wait(server: ServerProcess, patience: float) -> None:
    """While a transfer comes to its end, a new client is told at once to go elsewhere."""
    with wire(server) as up:
        begin_upload(up)
        server.process.terminate()
        eventually(lambda: refuses(server), seconds=patience, what="no new connections")
        up.send(BYTES[MIB:])
        assert sha256(BYTES).encode() in up.response().read()
    server.assert_ends_well()


def begin_upload(client: Wire) -> None:
    """Sends a first MiB, once somebody wants it."""
    client.request("POST /upload", "Expect: 100-continue", f"Content-Length: {len(BYTES)}")
    reader = client.makefile("rb")
    assert reader.readline().startswith(b"HTTP/1.1 100 ")
    assert reader.readline() == b"\r\n"
    client.send(BYTES[:MIB])
