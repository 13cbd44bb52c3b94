"""Refusals that come while the body is on its way: the client reads them, and nothing leaks."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.e2e.clients import MIB, content, curl, form, form_type, session, sha256, wire
from tests.waiting import comes_to_nothing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.conftest import Servers
    from tests.server_process import ServerProcess

LIMIT = 4 * MIB
LARGE = content(20 * MIB)

#: What the envelope of a form may add to its files.
FORM_OVERHEAD = 2 * MIB


@pytest.fixture
def limited(shared_server: Servers) -> Iterator[ServerProcess]:
    """A server with a low limit, which must hold the same files afterwards."""
    server = shared_server(max_upload_size="4MiB")
    before = server.rows().keys()
    yield server
    server.assert_settled()
    assert server.rows().keys() == before


def one_file(data: bytes) -> bytes:
    return form(('name="a"; filename="a.bin"', data))


class TestDeclaredTooLarge:
    """Refused before the body is read, and each client can read that."""

    @pytest.mark.parametrize("size", [LIMIT + 1, 20 * MIB, 1024**6])
    def test_answer_comes_before_the_body(self, limited: ServerProcess, size: int) -> None:
        with wire(limited) as client:
            client.request("POST /upload", f"Content-Length: {size}")
            assert client.problem() == (413, "too_large")

    def test_client_that_sends_all_before_it_reads(self, limited: ServerProcess) -> None:
        with wire(limited) as client:
            client.request("POST /upload", f"Content-Length: {len(LARGE)}")
            client.send(LARGE)
            assert client.problem() == (413, "too_large")
            client.request("GET /healthz")  # the connection lives on
            assert client.response("GET").status == 200

    @pytest.mark.parametrize("arguments", [["-T"], ["--data-binary"], ["-F"]])
    @pytest.mark.parametrize("expect", ["Expect:", "Expect: 100-continue"])
    def test_curl(
        self, limited: ServerProcess, tmp_path: Path, arguments: list[str], expect: str
    ) -> None:
        path = tmp_path / "large"
        path.write_bytes(LARGE)
        sent = {"-T": path, "--data-binary": f"@{path}", "-F": f"a=@{path}"}[arguments[0]]
        url = f"{limited.base_url}/upload{'/' * (arguments == ['-T'])}"
        answer = json.loads(curl(*arguments, sent, "-H", expect, url))
        assert (answer["status"], answer["code"]) == (413, "too_large")

    def test_httpx(self, limited: ServerProcess) -> None:
        with session(limited) as client:
            for _ in range(3):
                response = client.post("/upload", content=LARGE)
                assert (response.status_code, response.json()["code"]) == (413, "too_large")

    @pytest.mark.asyncio(loop_scope="function")
    async def test_httpx_streaming(self, limited: ServerProcess) -> None:
        async def body() -> AsyncIterator[bytes]:
            for start in range(0, len(LARGE), MIB):
                yield LARGE[start : start + MIB]

        async with httpx.AsyncClient(base_url=limited.base_url, timeout=60) as client:
            response = await client.put("/upload/a", content=body())
        assert (response.status_code, response.json()["code"]) == (413, "too_large")


class TestUndeclaredTooLarge:
    """Refused at the byte that passes the limit."""

    def test_the_limit_itself_passes(self, shared_server: Servers) -> None:
        server = shared_server(max_upload_size="4MiB")
        for data in (LARGE[:LIMIT], LARGE[: LIMIT - 1], b""):
            with wire(server) as client:
                client.request("POST /upload", "Transfer-Encoding: chunked")
                client.chunk(data) if data else None
                client.chunk(b"")
                response = client.response()
                assert response.status == 201
                assert json.loads(response.read())["files"][0]["sha256"] == sha256(data)

    def test_the_byte_over(self, limited: ServerProcess) -> None:
        with wire(limited) as client:
            client.request("POST /upload", "Transfer-Encoding: chunked")
            client.chunk(LARGE[:LIMIT])
            client.chunk(b"x")
            assert client.problem() == (413, "too_large")  # with the body not at its end
            assert limited.parts() == []

    def test_client_that_sends_all_before_it_reads(self, limited: ServerProcess) -> None:
        with wire(limited) as client:
            client.request("POST /upload", "Transfer-Encoding: chunked")
            client.chunk(LARGE)
            client.chunk(b"")
            assert client.problem() == (413, "too_large")

    def test_form(self, limited: ServerProcess) -> None:
        for data in (LARGE[: LIMIT + 1], LARGE[: LIMIT + FORM_OVERHEAD - 1000], LARGE):
            with wire(limited) as client:
                client.request(
                    "POST /upload", "Transfer-Encoding: chunked", f"Content-Type: {form_type}"
                )
                client.chunk(one_file(data))
                client.chunk(b"")
                assert client.problem() == (413, "too_large")

    def test_one_file_too_large_among_good_ones(self, limited: ServerProcess) -> None:
        parts = [('name="a"; filename="a"', LARGE[:MIB])]
        body = form(*parts, ('name="b"; filename="b"', LARGE[: LIMIT + 1]))
        with session(limited) as client:
            headers = {"Content-Type": form_type}
            response = client.post("/upload", content=body, headers=headers)
        assert (response.status_code, response.json()["code"]) == (413, "too_large")


REFUSED = {
    "too large": ("POST /upload", [f"Content-Length: {len(LARGE)}"], 413),
    "no such route": ("POST /nowhere", [f"Content-Length: {len(LARGE)}"], 404),
    "method": ("DELETE /upload", [f"Content-Length: {len(LARGE)}"], 405),
    "digest": ("POST /upload", ["Content-Length: 4000000", "Content-Digest: sha-256=x"], 400),
    "coding": ("POST /upload", ["Content-Length: 4000000", "Content-Encoding: gzip"], 415),
    "lifetime": ("POST /upload", ["Content-Length: 4000000", "Expires-In: soon"], 400),
    "download with a body": ("GET /healthz", [f"Content-Length: {len(LARGE)}"], 200),
}


@pytest.mark.parametrize("name", REFUSED)
def test_every_refusal_can_be_read(limited: ServerProcess, name: str) -> None:
    line, headers, status = REFUSED[name]
    with wire(limited) as client:
        client.request(line, *headers)
        client.send(LARGE[: int(headers[0].partition(":")[2])])
        assert client.response().status == status


def test_body_that_never_ends_is_discarded_for_a_while_only(shared_server: Servers) -> None:
    server = shared_server(max_upload_size="4MiB", discard_timeout=1, discard_size="8MiB")
    with wire(server) as patient, wire(server) as eager:
        patient.request("POST /upload", f"Content-Length: {len(LARGE)}")
        assert patient.problem() == (413, "too_large")
        eager.request("POST /upload", f"Content-Length: {1000 * MIB}")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(50):
                eager.send(LARGE)
        comes_to_nothing(server.leftovers)


def test_200_refusals_with_bodies_in_flight(limited: ServerProcess) -> None:
    """None of them holds anything, while open or after."""

    async def all_refused() -> list[int]:
        """All at once, however busy the machine is: the server sleeps until everything is there."""
        clients = [await asyncio.open_connection(limited.host, limited.port) for _ in range(200)]
        os.kill(limited.pid, signal.SIGSTOP)
        try:
            for number, (_, writer) in enumerate(clients):
                writer.write(
                    b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"
                )
                writer.write(LARGE[: 64 * 1024 * (number % 8)])
        finally:
            os.kill(limited.pid, signal.SIGCONT)
        answers = [await reader.readline() for reader, _ in clients]
        for number, (_, writer) in enumerate(clients):
            if number % 2:
                writer.transport.abort()
            writer.close()
        return [int(answer.split()[1]) for answer in answers]

    for _ in range(3):  # until the allocator has what it needs for 200 at once
        assert asyncio.run(all_refused()) == [413] * 200
        limited.assert_settled()
    before = limited.memory("VmRSS")
    for _ in range(3):
        assert asyncio.run(all_refused()) == [413] * 200
        limited.assert_settled()
    assert limited.memory("VmRSS") - before < 16 * MIB
