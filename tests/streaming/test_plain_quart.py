"""Faults of stock Quart with bodies and responses, and their absence after one call.

Each runs on stock Hypercorn, whose early-answer deadlock (Hypercorn 1 and 2) comes with it.
"""

from __future__ import annotations

import hashlib
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.clients import MIB, content, form, form_type, session, wire
from tests.server_process import ServerProcess
from tests.waiting import comes_to_nothing, eventually, settled_value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = (sys.executable, "-m", "hypercorn", "tests.streaming.plain_app:app", "--workers", "0",
           "--keep-alive", "1", "--bind", "127.0.0.1:0")  # fmt: skip

BYTES = content(24 * MIB)
LENGTH = f"Content-Length: {len(BYTES)}"
CHUNKED = "Transfer-Encoding: chunked"


def starting(directory: Path, *arguments: str, **variables: str) -> ServerProcess:
    return ServerProcess(directory, command=(*COMMAND, *arguments), variables=variables)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with starting(tmp_path_factory.mktemp("plain")) as server:
        yield server
        # Once for all, as stock Hypercorn keeps each connection for a second after its end.
        server.assert_settled()


@pytest.fixture
def server(running: ServerProcess) -> Iterator[ServerProcess]:
    yield running
    running.assert_quiet_logs()


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The same application without the call: what the tests would see of stock Quart."""
    server = starting(tmp_path_factory.mktemp("stock"), STOCK="1")
    try:
        yield server.ready()
    finally:
        server.kill()


def seen(server: ServerProcess) -> list[str]:
    with session(server) as client:
        found: list[str] = client.get("/seen").json()
    return found


class TestBackpressure:
    """Fact 1."""

    def taken_while_paused(self, server: ServerProcess) -> tuple[int, str]:
        """How much a handler that reads nothing lets in, and the digest it reads in the end."""
        with wire(server) as client:
            client.socket.setblocking(False)
            client.socket.send(f"POST /paused/2.0 HTTP/1.1\r\nHost: x\r\n{LENGTH}\r\n\r\n".encode())
            sent = 0

            def send_more() -> int:
                nonlocal sent
                with suppress(BlockingIOError):
                    sent += client.socket.send(BYTES[sent : sent + MIB])
                return sent

            taken = settled_value(send_more)
            client.socket.settimeout(60)
            client.send(BYTES[sent:])
            return taken, client.response().read().decode()

    def test_client_waits_for_the_handler(self, server: ServerProcess) -> None:
        before = server.memory("VmHWM")
        taken, digest = self.taken_while_paused(server)
        assert taken < 12 * MIB  # most of it in the kernel's buffers
        assert digest == hashlib.sha256(BYTES).hexdigest()
        assert server.memory("VmHWM") - before < 80 * MIB  # the handler joins it in the end

    def test_stock_does_not(self, stock: ServerProcess) -> None:
        taken, _ = self.taken_while_paused(stock)
        assert taken == len(BYTES)


class TestLimit:
    """Fact 2."""

    def send(self, server: ServerProcess, data: bytes) -> int:
        with wire(server) as client:
            client.request("POST /size", CHUNKED)
            client.chunk(data)
            client.chunk(b"")
            return client.response().status

    def test_what_streams_is_counted(self, server: ServerProcess) -> None:
        assert self.send(server, BYTES) == 200
        assert self.send(server, BYTES + b"x") == 413

    def test_stock_counts_what_it_holds(self, stock: ServerProcess) -> None:
        assert self.send(stock, BYTES + b"x") == 200

    def test_declared_length(self, server: ServerProcess) -> None:
        with wire(server) as client:
            client.request("POST /size", f"Content-Length: {len(BYTES) + 1}")
            assert client.problem() == (413, "too_large")


class TestResponseTimeout:
    """Fact 3."""

    def test_long_response_is_whole(self, server: ServerProcess) -> None:
        with session(server) as client:
            assert client.get("/slow/8").text.splitlines() == [str(n) for n in range(8)]

    def test_stock_cuts_it(self, stock: ServerProcess) -> None:
        with session(stock) as client, pytest.raises(Exception, match="peer closed connection"):
            client.get("/slow/8")


class TestForms:
    """Fact 4."""

    PARTS = (('name="a"; filename="x.txt"', b"file"), ('name="b"', b"field"))

    def post(self, server: ServerProcess, path: str, body: bytes) -> Any:
        with session(server) as client:
            return client.post(path, content=body, headers={"Content-Type": form_type})

    def test_small_ones_work_as_ever(self, server: ServerProcess) -> None:
        answer = self.post(server, "/form", form(*self.PARTS)).json()
        assert answer == {"fields": {"b": "field"}, "files": {"a": "file"}}

    def test_urlencoded(self, server: ServerProcess) -> None:
        with session(server) as client:
            answer = client.post("/form", data={"a": "1", "b": "ü"}).json()
        assert answer == {"fields": {"a": "1", "b": "ü"}, "files": {}}

    def test_parts(self, server: ServerProcess) -> None:
        parts = (*self.PARTS, ('name="c"; filename="big"', BYTES[: 20 * MIB]))
        answer = self.post(server, "/parts", form(*parts)).json()
        assert answer == [["a", "x.txt", 4], ["b", None, 5], ["c", "big", 20 * MIB]]

    def test_cut_inside_a_file(self, server: ServerProcess) -> None:
        response = self.post(server, "/parts", form(*self.PARTS)[:-60])
        assert (response.status_code, response.json()["code"]) == (400, "bad_form")


def test_json_may_be_asked_for_after_the_data(server: ServerProcess) -> None:
    with session(server) as client:
        for value in ({"a": [1, None, "ü"]}, [0] * 100_000):
            assert client.post("/json", json=value).json() == value
        headers = {"Content-Type": "application/json"}
        assert client.post("/json", content=b"{", headers=headers).status_code == 400


class TestEarlyAnswers:
    """Hypercorn 1 and 2, which fact 1's cure would set off."""

    @pytest.mark.parametrize("path", ["/early", "/nowhere", "/abort", "/seen"])
    @pytest.mark.parametrize("framing", [LENGTH, CHUNKED])
    def test_client_that_sends_all_reads_the_answer(
        self, server: ServerProcess, path: str, framing: str
    ) -> None:
        status = {"/early": 200, "/nowhere": 404, "/abort": 401, "/seen": 405}[path]
        with wire(server) as client:
            for _ in range(3):  # and keeps its connection
                client.request(f"POST {path}", framing)
                if framing == CHUNKED:
                    client.chunk(BYTES)
                    client.chunk(b"")
                else:
                    client.send(BYTES)
                response = client.response()
                assert response.status == status
                response.read()

    def test_client_that_reads_first(self, server: ServerProcess) -> None:
        with wire(server) as client:
            client.request("POST /early", LENGTH)
            assert client.response().read() == b"early"

    def test_client_that_goes(self, server: ServerProcess) -> None:
        for size in (0, 1, MIB, 8 * MIB):
            with wire(server) as client:
                client.request("POST /early", LENGTH, body=BYTES[:size])
                assert client.response().status == 200
                client.reset()


class TestDisconnect:
    """Facts 7 and 4: the handler learns of it, and everything is closed."""

    @pytest.mark.parametrize("size", [0, 1, MIB])
    @pytest.mark.parametrize("way", ["reset", "close"])
    def test_handler_sees_a_cut_body(self, server: ServerProcess, size: int, way: str) -> None:
        before = len(seen(server))
        with wire(server) as client:
            client.request("POST /cut", LENGTH, body=BYTES[:size])
            eventually(lambda: seen(server)[before:] == ["began"])
            getattr(client, way)()
        said = ["began", "client_disconnected", "ended"]
        eventually(lambda: seen(server)[before:] == said)

    @pytest.mark.parametrize("reads", [0, 3 * MIB])
    def test_generator_and_resources_are_closed(self, server: ServerProcess, reads: int) -> None:
        before = len(seen(server))
        with wire(server) as client:
            client.request("GET /endless")
            client.response("GET").read(reads)
            client.reset()
        eventually(lambda: seen(server)[before:] == ["generator closed", "resource closed"])

    def test_end_of_the_server_closes_generators_too(self, tmp_path: Path) -> None:
        server = starting(tmp_path, "--graceful-timeout", "1")
        try:
            server.ready()
            with wire(server) as client:
                client.request("GET /endless")
                client.response("GET")
                server.process.terminate()
                closed = "generator closed\nresource closed\n"
                eventually(lambda: server.out.read_text() == closed, what="all is closed")
            server.process.wait(20)  # stock Hypercorn waits for a client that does not read
        finally:
            server.kill()

    def test_both_ways_at_once(self, server: ServerProcess) -> None:
        with wire(server) as client:
            client.request("POST /echo", CHUNKED)
            client.chunk(BYTES[:MIB])
            response = client.response()
            assert response.read(MIB) == BYTES[:MIB]
            client.chunk(BYTES[MIB : 2 * MIB])
            assert response.read(MIB) == BYTES[MIB : 2 * MIB]
            client.chunk(b"")
            assert response.read() == b""

    def test_both_ways_at_once_and_gone(self, server: ServerProcess) -> None:
        with wire(server) as client:
            client.request("POST /echo", CHUNKED)
            client.chunk(BYTES[:MIB])
            client.response().read(MIB)
            client.reset()
        comes_to_nothing(server.leftovers)


@pytest.mark.parametrize("host", ["..x", "x" * 64])
def test_host_that_no_route_can_be_bound_to(server: ServerProcess, host: str) -> None:
    with wire(server) as client:
        client.send(f"GET /seen HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert client.problem() == (400, "bad_request")
