"""Readers that stop, crawl and vanish: what they held is freed, and only they are cut."""

from __future__ import annotations

import hashlib
import time
from http.client import IncompleteRead
from typing import TYPE_CHECKING

import pytest

from tests.e2e.clients import MIB, content, session, upload, wire
from tests.waiting import comes_to_nothing, eventually

if TYPE_CHECKING:
    from tests.conftest import Servers
    from tests.server_process import ServerProcess

KIB = 1024

BYTES = content(32 * MIB)

STALL_SECONDS = 1

#: A small window makes a reader that stops be felt by the server at once.
WINDOW = 64 * KIB


@pytest.fixture
def server(shared_server: Servers) -> ServerProcess:
    return shared_server(stall_timeout=STALL_SECONDS)


@pytest.fixture
def path(server: ServerProcess) -> str:
    with session(server) as client:
        return str(upload(client, BYTES)["url"])


def open_blobs(server: ServerProcess) -> list[str]:
    return server.blob_descriptors()


@pytest.mark.parametrize("method", ["reset", "close"])
@pytest.mark.parametrize("reads", [0, 1, 5 * MIB])
def test_client_is_gone(server: ServerProcess, path: str, reads: int, method: str) -> None:
    with wire(server, WINDOW) as client:
        client.request(f"GET {path}")
        client.response("GET").read(reads)
        assert open_blobs(server)
        getattr(client, method)()
    comes_to_nothing(lambda: open_blobs(server), seconds=10)


def test_what_a_reader_took_is_logged(server: ServerProcess, path: str) -> None:
    with wire(server, WINDOW) as client:
        client.request(f"GET {path}")
        client.response("GET").read(7 * MIB)
        client.reset()
    logged = eventually(lambda: [line for line in server.logs() if line.get("path") == path])
    assert 7 * MIB <= logged[-1]["sent"] < len(BYTES)


def test_readers_that_stop_are_cut(server: ServerProcess, path: str) -> None:
    many = "Range: bytes=1-9000000,10000000-31000000"
    with wire(server, WINDOW) as whole, wire(server, WINDOW) as parts, wire(server) as silent:
        whole.request(f"GET {path}")
        parts.request(f"GET {path}", many)
        silent.request(f"GET {path}")
        responses = [client.response("GET") for client in (whole, parts)]
        assert [len(response.read(MIB)) for response in responses] == [MIB, MIB]
        eventually(lambda: len(open_blobs(server)) == 3, what="all are being served")
        comes_to_nothing(lambda: open_blobs(server), seconds=10 * STALL_SECONDS)
        comes_to_nothing(server.leftovers)  # the connections too, with the clients still there
        for response in [*responses, silent.response("GET")]:
            with pytest.raises((ConnectionResetError, IncompleteRead)):
                response.read()


def test_reader_that_stops_with_all_but_the_last_bytes(server: ServerProcess) -> None:
    """What fits the server's buffers counts as sent: the connection has to end all the same."""
    with session(server) as client:
        path = str(upload(client, BYTES[: 2 * MIB])["url"])
    with wire(server, WINDOW) as client:
        client.request(f"GET {path}", "Connection: close")
        eventually(lambda: server.logs()[-1].get("path") == path, what="the download is logged")
        comes_to_nothing(server.leftovers)


def test_reader_that_crawls_lives(server: ServerProcess, path: str) -> None:
    """8 KiB each 50 ms: always moving, and yet slower by the piece than the stall timeout."""
    digest = hashlib.sha256()
    with wire(server, WINDOW) as client:
        client.request(f"GET {path}")
        response = client.response("GET")
        deadline = time.monotonic() + 5 * STALL_SECONDS
        while time.monotonic() < deadline:
            digest.update(response.read(8 * KIB))
            time.sleep(STALL_SECONDS / 20)
        while data := response.read(MIB):
            digest.update(data)
    assert digest.digest() == hashlib.sha256(BYTES).digest()


def test_reader_that_pauses_for_less_than_the_timeout_lives(
    server: ServerProcess, path: str
) -> None:
    digest = hashlib.sha256()
    with wire(server, WINDOW) as client:
        client.request(f"GET {path}")
        response = client.response("GET")
        for _ in range(4):
            digest.update(response.read(4 * MIB))
            time.sleep(STALL_SECONDS / 2)
        while data := response.read(MIB):
            digest.update(data)
    assert digest.digest() == hashlib.sha256(BYTES).digest()


def test_pipelined_requests_are_answered_in_order(server: ServerProcess, path: str) -> None:
    with wire(server) as client:
        for start in range(20):
            client.request(f"GET {path}", f"Range: bytes={start}-{start}")
        for start in range(20):
            response = client.response("GET")
            assert (response.status, response.read()) == (206, BYTES[start : start + 1])
