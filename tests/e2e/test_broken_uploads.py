"""Senders that lie about lengths, cut, stall and vanish: nothing of them stays."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.clients import MIB, content, form, form_type, session, wire
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Servers
    from tests.e2e.clients import Wire
    from tests.server_process import ServerProcess

BYTES = content(4 * MIB)
LENGTH = f"Content-Length: {len(BYTES)}"
CHUNKED = "Transfer-Encoding: chunked"
FORM = f"Content-Type: {form_type}"

STALL_SECONDS = 1

#: How much arrives before the trouble.
AMOUNTS = [0, 1, 100_000, 3 * MIB]


@pytest.fixture
def unchanged(shared_server: Servers) -> Iterator[ServerProcess]:
    """A server of little patience that must hold the same files afterwards."""
    server = shared_server(stall_timeout=STALL_SECONDS)
    before = server.rows().keys()
    yield server
    server.assert_settled()
    assert server.rows().keys() == before


def begin_raw(client: Wire, size: int) -> None:
    client.request("POST /upload", LENGTH, body=BYTES[:size])


def begin_chunked(client: Wire, size: int) -> None:
    client.request("PUT /upload/a.bin", CHUNKED)
    client.chunk(BYTES[: max(size, 1)])


def begin_form(client: Wire, size: int) -> None:
    whole = form(('name="a"; filename="a"', BYTES[:MIB]), ('name="b"; filename="b"', BYTES))
    cut = len(whole) - len(BYTES) + size
    client.request("POST /upload", FORM, f"Content-Length: {len(whole)}", body=whole[:cut])


BEGINNINGS = pytest.mark.parametrize("begin", [begin_raw, begin_chunked, begin_form])


@BEGINNINGS
@pytest.mark.parametrize("size", AMOUNTS)
class TestCut:
    def test_client_says_that_nothing_more_comes(
        self, unchanged: ServerProcess, begin: object, size: int
    ) -> None:
        with wire(unchanged) as client:
            begin(client, size)  # type: ignore[operator]
            client.end()
            # Hypercorn answers unless it has seen the end before it looks at the body.
            assert client.socket.recv(12) in {b"HTTP/1.1 400", b""}

    def test_client_is_gone(self, unchanged: ServerProcess, begin: object, size: int) -> None:
        with wire(unchanged) as client:
            begin(client, size)  # type: ignore[operator]
            eventually(unchanged.handling, what="the upload begins")
            client.reset()


@BEGINNINGS
@pytest.mark.parametrize("size", [0, 3 * MIB])
def test_stalled(unchanged: ServerProcess, begin: object, size: int) -> None:
    with wire(unchanged) as client:
        started = time.monotonic()
        begin(client, size)  # type: ignore[operator]
        assert client.problem() == (408, "client_stalled")
        assert time.monotonic() - started >= STALL_SECONDS
        assert unchanged.parts() == []


def test_slow_sender_is_no_stalled_one(unchanged: ServerProcess) -> None:
    with wire(unchanged) as client:
        client.request("POST /upload", LENGTH)
        deadline = time.monotonic() + 2 * STALL_SECONDS
        while time.monotonic() < deadline:
            client.send(BYTES[:1])
            time.sleep(STALL_SECONDS / 20)
        client.reset()


MALFORMED = {
    "negative length": (["Content-Length: -1"], b""),
    "length that is no number": (["Content-Length: 0x10"], BYTES[:16]),
    "two lengths": (["Content-Length: 4", "Content-Length: 5"], BYTES[:5]),
    "chunk size that is no number": ([CHUNKED], b"zz\r\nabc\r\n0\r\n\r\n"),
    "negative chunk size": ([CHUNKED], b"-3\r\nabc\r\n0\r\n\r\n"),
    "chunk longer than its size": ([CHUNKED], b"1\r\nabc\r\n0\r\n\r\n"),
    "unknown transfer coding": (["Transfer-Encoding: gzip"], BYTES[:16]),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_framing(unchanged: ServerProcess, name: str) -> None:
    headers, body = MALFORMED[name]
    with wire(unchanged) as client:
        client.request("POST /upload", *headers, body=body)
        assert client.response().status in {400, 501}


def test_client_gone_as_soon_as_it_sent_all(shared_server: Servers) -> None:
    """Whether it is stored or not, row and bytes agree (the server looks that up)."""
    server = shared_server(stall_timeout=STALL_SECONDS)
    for number in range(40):
        with wire(server) as client:
            client.request("POST /upload", "Content-Length: 100000", body=BYTES[:100_000])
            client.reset() if number % 2 else client.close()
    server.assert_settled()
    with session(server) as after:
        for file in after.get("/files").json()["files"]:
            assert len(after.get(file["url"]).content) == file["size"]
