"""Descriptors that run out, by the system's own limit, on both event loops."""

from __future__ import annotations

import resource
import socket
from collections import Counter
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.e2e.clients import MIB, content, session, sha256, upload, wire
from tests.e2e.limits import with_limit
from tests.server_process import SERVE
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.server_process import ServerProcess

BYTES = content(8 * MIB)

SHORT = ("descriptors are short", "connections wait to be accepted")


@pytest.fixture(params=[("uvloop", 64), ("asyncio", 64), ("uvloop", 4096)], ids=str)
def limited(
    request: pytest.FixtureRequest, start: Callable[..., ServerProcess]
) -> tuple[ServerProcess, int]:
    loop, limit = request.param
    return start(settings={"loop": loop}, wrapper=with_limit(nofile=limit)), limit


@contextmanager
def idle_connections(server: ServerProcess, count: int) -> Iterator[None]:
    """More connections than the server has descriptors, on which nothing is asked."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with ExitStack() as stack:
            for _ in range(count):
                idle = stack.enter_context(socket.socket())
                idle.setblocking(False)
                idle.connect_ex((server.host, server.port))
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_runs_goes_on_and_new_work_is_refused(limited: tuple[ServerProcess, int]) -> None:
    server, limit = limited
    with session(server) as client, wire(server) as resting, wire(server, 64 * 1024) as slow:
        file = upload(client, BYTES)
        slow.request(f"GET {file['url']}")
        answer = slow.response("GET")
        assert (answer.status, answer.read(MIB)) == (200, BYTES[:MIB])
        resting.request("GET /healthz")
        assert resting.response("GET").read()
        with idle_connections(server, limit):
            eventually(lambda: logged(server)["connections wait to be accepted"], what="shortage")
            resting.request("GET /files")
            refused = resting.response("GET")
            assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
            assert refused.headers["Connection"] == "close"  # which frees a descriptor
            assert b'"code":"overloaded"' in refused.read().replace(b" ", b"")
            assert answer.read() == BYTES[MIB:]
        eventually(lambda: served(client), what="the service recovers")
        assert sha256(client.get(file["url"]).content) == file["sha256"]
    assert all(count <= 2 for count in logged(server).values()), logged(server)
    assert len(server.logs()) < 100


def logged(server: ServerProcess) -> Counter[str]:
    """How often the log tells of the shortage."""
    return Counter(line["event"] for line in server.logs() if line.get("event") in SHORT)


def served(client: httpx.Client) -> bool:
    try:
        return client.post("/upload", content=b"more").status_code == 201
    except httpx.TransportError:
        return False


def test_health_is_told_all_the_same(start: Callable[..., ServerProcess]) -> None:
    server = start(wrapper=with_limit(nofile=64))
    with wire(server) as client:
        client.request("GET /healthz")
        assert client.response("GET").read()
        with idle_connections(server, 64):
            eventually(lambda: logged(server)["connections wait to be accepted"], what="shortage")
            client.request("GET /healthz")
            assert client.response("GET").status == 200


def test_download_without_a_descriptor_for_its_socket(start: Callable[..., ServerProcess]) -> None:
    server = start(variables={"TEST_FAULTS": "no_duplicates"})
    with session(server) as client:
        file: dict[str, Any] = upload(client, BYTES)
        for _ in range(2):
            assert client.get(file["url"]).content == BYTES
        part = client.get(file["url"], headers={"Range": "bytes=100000-7000000"})
        assert part.content == BYTES[100_000:7_000_001]


PARTS = 999

#: A form of many tiny files, without its end.
TRICKLE = b"".join(
    b'--b\r\nContent-Disposition: form-data; name="f"; filename="%d"\r\n\r\nx\r\n' % number
    for number in range(PARTS)
)


@pytest.mark.parametrize("workers", [1, 2])
def test_forms_of_many_files_take_no_descriptors(
    start: Callable[..., ServerProcess], workers: int
) -> None:
    """While five forms of 999 files wait for their end, everybody else is served."""
    settings, limit = {"workers": workers}, with_limit(nofile=256)
    server = start(settings=settings, command=SERVE, wrapper=limit)
    with ExitStack() as stack:
        forms = [stack.enter_context(wire(server)) for _ in range(5)]
        for form in forms:
            headers = (
                "Content-Type: multipart/form-data; boundary=b",
                "Transfer-Encoding: chunked",
            )
            form.request("POST /upload", *headers)
            form.chunk(TRICKLE)
        client = stack.enter_context(session(server))
        eventually(lambda: len(server.blobs()) >= 5 * (PARTS - 1), what="the files arrive")
        for _ in range(20):
            file = upload(client, b"small")
            assert client.get("/files").status_code == 200
            assert client.delete(f"/files/{file['id']}").status_code == 204
        for form in forms:
            form.chunk(b"--b--\r\n")
            form.chunk(b"")
            assert form.response().status == 201
    assert len(server.rows()) == 5 * PARTS
