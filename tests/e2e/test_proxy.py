"""`POST /proxy`: bodies sent on to destinations that behave, and destinations that do not."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from contextlib import suppress
from http.client import IncompleteRead
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.e2e.clients import MIB, content, curl, form, form_type, session, wire
from tests.e2e.origins import Origin, Visit, answer
from tests.server.conftest import LOOPS
from tests.server.http2_client import http2
from tests.server_process import SERVE
from tests.waiting import comes_to_nothing, eventually, settled_value

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.conftest import Servers
    from tests.e2e.clients import Wire
    from tests.server.http2_client import Http2Client
    from tests.server_process import ServerProcess

BYTES = content(3 * MIB + 17)

STALL_SECONDS = 1

PARTS = (("name=a", b"field"), ('name="b"; filename="b.bin"', BYTES), ("name=c", b"x" * 100_000))


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    running = Origin()
    yield running
    running.close()


def targets(origin: Origin) -> str:
    named = {"first": "/first", "default": "/default", "asking": "/asking?a=b", "none": "/none"}
    return json.dumps({name: origin.url + path for name, path in named.items()})


@pytest.fixture
def server(shared_server: Servers, origin: Origin) -> ServerProcess:
    return shared_server(proxy_targets=targets(origin))


@pytest.fixture
def hasty(shared_server: Servers, origin: Origin) -> ServerProcess:
    return shared_server(proxy_targets=targets(origin), stall_timeout=STALL_SECONDS)


@pytest.fixture
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    with session(server) as client:
        yield client


def echo(visit: Visit) -> None:
    """Answers with the body that came."""
    visit.answer(visit.body(), f"Content-Type: {visit.head.get('content-type', 'none')}")


def code(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json", response.text
    return response.status_code, response.json()["code"]


class TestPassing:
    """What reaches the destination, and what comes back."""

    def test_raw_body(self, client: httpx.Client, origin: Origin) -> None:
        origin.on("/default", echo)
        response = client.post("/proxy", content=BYTES, headers={"Content-Type": "a/b"})
        assert (response.status_code, response.headers["content-type"]) == (200, "a/b")
        assert response.content == BYTES
        asked = origin.visits[0]
        assert asked.line == "POST /default HTTP/1.1"
        assert asked.head["content-length"] == str(len(BYTES))
        assert asked.head["host"] == origin.netloc
        assert "transfer-encoding" not in asked.head

    def test_chunked_body(self, client: httpx.Client, origin: Origin) -> None:
        origin.on("/default", echo)
        response = client.post("/proxy", content=iter([BYTES[:5], BYTES[5:]]))
        assert response.content == BYTES
        assert origin.visits[0].head["transfer-encoding"] == "chunked"
        assert "content-length" not in origin.visits[0].head

    @pytest.mark.parametrize("headers", [[], ["Content-Length: 0"]])
    def test_no_body(self, server: ServerProcess, origin: Origin, headers: list[str]) -> None:
        origin.on("/default", echo)
        with wire(server) as client:
            client.request("POST /proxy", *headers)
            assert client.response().read() == b""
        assert origin.visits[0].head["content-length"] == "0"

    @pytest.mark.parametrize("chunked", [False, True])
    def test_form(self, client: httpx.Client, origin: Origin, chunked: bool) -> None:
        origin.on("/default", echo)
        body = form(*PARTS)
        sent = iter([body[:1000], body[1000:]]) if chunked else body
        response = client.post("/proxy", content=sent, headers={"Content-Type": form_type})
        assert response.content == body
        assert origin.visits[0].head["content-type"] == form_type
        assert ("content-length" in origin.visits[0].head) is not chunked

    def test_curl(self, server: ServerProcess, origin: Origin, tmp_path: Path) -> None:
        path = tmp_path / "b.bin"
        path.write_bytes(BYTES)
        origin.on("/default", echo)
        assert curl("--data-binary", f"@{path}", f"{server.base_url}/proxy") == BYTES
        sent = curl("-F", "a=x", "-F", f"b=@{path}", f"{server.base_url}/proxy")
        assert BYTES in sent
        assert b'name="b"; filename="b.bin"' in sent

    def test_bytes_go_on_as_they_arrive(self, server: ServerProcess, origin: Origin) -> None:
        arrived = threading.Event()

        def read(visit: Visit) -> None:
            visit.take(5)
            arrived.set()
            visit.take(5)
            visit.answer(b"done")

        origin.on("/default", read)
        with wire(server) as client:
            client.request("POST /proxy", "Content-Length: 10")
            client.send(b"12345")
            assert arrived.wait(60)
            client.send(b"67890")
            assert client.response().read() == b"done"

    def test_parts_go_on_as_they_arrive(self, server: ServerProcess, origin: Origin) -> None:
        first, rest = form(PARTS[0], end=b""), form(PARTS[1])
        arrived = threading.Event()

        def read(visit: Visit) -> None:
            visit.take(len(first))
            arrived.set()
            visit.take(len(rest))
            visit.answer(b"done")

        origin.on("/default", read)
        with wire(server) as client:
            size = len(first + rest)
            client.request("POST /proxy", f"Content-Type: {form_type}", f"Content-Length: {size}")
            client.send(first)
            assert arrived.wait(60)
            client.send(rest)
            assert client.response().read() == b"done"

    def test_answer_while_the_body_is_sent(self, server: ServerProcess, origin: Origin) -> None:
        def convert(visit: Visit) -> None:
            visit.send(answer(b"", "Transfer-Encoding: chunked"))
            for _ in range(3):
                visit.send(b"1\r\n%b\r\n" % visit.take(1).upper())
            visit.send(b"0\r\n\r\n")

        origin.on("/default", convert)
        with wire(server) as client:
            client.request("POST /proxy", "Content-Length: 3")
            client.send(b"a")
            response = client.response()
            assert response.read(1) == b"A"
            client.send(b"b")
            assert response.read(1) == b"B"
            client.send(b"c")
            assert response.read() == b"C"

    @pytest.mark.parametrize("status", ["200 OK", "204 No Content"])
    def test_body_goes_on_after_the_answer(
        self, server: ServerProcess, origin: Origin, status: str
    ) -> None:
        """Of a destination that first says thanks, and then reads."""
        taken: list[bytes] = []

        def thank(visit: Visit) -> None:
            visit.send(answer(b"", "X-A: b", status=status))
            taken.append(visit.take(len(BYTES)))

        origin.on("/default", thank)
        with wire(server) as client:
            client.request("POST /proxy", f"Content-Length: {len(BYTES)}")
            client.send(BYTES)
            response = client.response()
            assert response.status == int(status[:3])
            response.read()
        eventually(lambda: taken)
        assert taken == [BYTES]

    def test_fields(self, client: httpx.Client, origin: Origin) -> None:
        fields = ("Set-Cookie: a=1", "Set-Cookie: b=2", "X-A: b", "Connection: close, X-Own",
                  "X-Own: 1", "X-Accel-Redirect: /protected/x")  # fmt: skip
        origin.on("/default", lambda visit: visit.answer(visit.body(), *fields, status="207 Odd"))
        asked = {"Authorization": "Bearer x", "X-Asked": "1", "Connection": "close, X-Hop",
                 "X-Hop": "1", "Cookie": "a=b", "X-Forwarded-For": "10.0.0.1"}  # fmt: skip
        response = client.post("/proxy", content=b"x", headers=asked)
        assert response.status_code == 207
        assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
        assert response.headers["x-a"] == "b"
        assert response.headers["content-security-policy"] == "sandbox"
        assert not {"x-own", "x-accel-redirect"} & response.headers.keys()
        came = origin.visits[0].head
        assert (came["authorization"], came["x-asked"]) == ("Bearer x", "1")
        assert came["user-agent"] == client.headers["user-agent"]
        assert not {"x-hop", "cookie", "x-forwarded-for"} & came.keys()

    def test_fields_as_they_came(self, server: ServerProcess, origin: Origin) -> None:
        """To the byte; and none of this service's own, or that names another client's address."""
        origin.on("/default", echo)
        with wire(server) as client:
            client.send(
                "POST /proxy HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\nX-U: é\r\n"
                "Remote-Addr: 9.9.9.9\r\nX_Forwarded_For: 9.9.9.9\r\n"
                "Transfer_Encoding: chunked\r\nContent_Length: 7\r\nX_Original-URL: /x\r\n"
                "Proxy_Authorization: x\r\nApi_Key: k\r\n\r\n".encode()
            )
            assert client.response().status == 200
        came = origin.visits[0].head
        assert came["x-u"].encode("latin-1") == "é".encode()
        own = {"accept-encoding", "api_key", "content-length", "host", "user-agent", "via", "x-u"}
        assert came.keys() <= own | {"accept", "connection"}, came
        assert came["api_key"] == "k"

    def test_redirects_are_the_clients(self, client: httpx.Client, origin: Origin) -> None:
        place = "Location: http://127.0.0.1:1/x"

        def lead(visit: Visit) -> None:
            visit.body()
            visit.answer(b"", place, status="307 There")

        origin.on("/default", lead)
        response = client.post("/proxy", content=b"x")
        assert (response.status_code, response.headers["location"]) == (307, place[10:])

    def test_targets(self, client: httpx.Client, origin: Origin) -> None:
        for path in ("/first", "/default", "/asking"):
            origin.on(path, echo)
        for path in ("/proxy?x=1%2B2", "/proxy/first", "/proxy/asking", "/proxy/asking?c=%20"):
            assert client.post(path, content=b"x").content == b"x"
        asked = [visit.path for visit in origin.visits]
        assert asked == ["/default?x=1%2B2", "/first", "/asking?a=b", "/asking?a=b&c=%20"]

    def test_no_target(self, client: httpx.Client, shared_server: Servers) -> None:
        assert code(client.post("/proxy/unknown", content=BYTES)) == (404, "no_target")
        with session(shared_server()) as other:
            for path in ("/proxy", "/proxy/default", "/proxy/"):
                assert code(other.post(path, content=BYTES)) == (404, "no_target")

    def test_first_is_the_default(self, shared_server: Servers, origin: Origin) -> None:
        named = json.dumps({"b": f"{origin.url}/first", "a": f"{origin.url}/default"})
        origin.on("/first", echo)
        with session(shared_server(proxy_targets=named)) as client:
            assert client.post("/proxy", content=b"x").content == b"x"


class TestEarlyAnswers:
    """A destination that refuses, and reads no more."""

    @pytest.mark.parametrize("framing", ["Content-Length: 99999999", "Transfer-Encoding: chunked"])
    @pytest.mark.parametrize("way", ["close", "stay"])
    @pytest.mark.parametrize("taken", [0, MIB])
    def test_413(
        self, server: ServerProcess, origin: Origin, framing: str, way: str, taken: int
    ) -> None:
        over = threading.Event()

        def refuse(visit: Visit) -> None:
            visit.take(taken)
            visit.answer(b"too much", status="413 Content Too Large")
            if way == "stay":
                over.wait(60)

        origin.on("/default", refuse)
        for _ in range(10):  # whoever wins the race between answer and reset
            with wire(server) as client:
                client.request("POST /proxy", framing)
                for _ in range(max(1, taken // len(BYTES) + 1)):
                    client.chunk(BYTES) if "chunked" in framing else client.send(BYTES)
                response = client.response()
                assert (response.status, response.read()) == (413, b"too much")
        over.set()

    @pytest.mark.asyncio(loop_scope="function")
    async def test_httpx(self, server: ServerProcess, origin: Origin) -> None:
        def refuse(visit: Visit) -> None:
            visit.take(MIB)
            visit.answer(b"too much", status="413 Content Too Large")

        async def body() -> AsyncIterator[bytes]:
            for _ in range(64):
                yield BYTES

        origin.on("/default", refuse)
        async with httpx.AsyncClient(base_url=server.base_url, timeout=60) as client:
            for _ in range(5):
                response = await client.post("/proxy", content=body())
                assert (response.status_code, response.text) == (413, "too much")


BROKEN = {
    "no HTTP": b"SSH-2.0-OpenSSH\r\n",
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
}


class TestTrouble:
    """Destinations that fail, clients that go, forms that are none."""

    @pytest.mark.parametrize("reads", [False, True])
    @pytest.mark.parametrize("name", BROKEN)
    def test_broken(self, client: httpx.Client, origin: Origin, name: str, reads: bool) -> None:
        def fail(visit: Visit) -> None:
            if reads:
                visit.body()
            visit.send(BROKEN[name])

        origin.on("/default", fail)
        assert code(client.post("/proxy", content=BYTES)) == (502, "upstream_failed")

    def test_down(self, shared_server: Servers) -> None:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            url = f"http://127.0.0.1:{gone.getsockname()[1]}/"
        with session(shared_server(proxy_targets=json.dumps({"a": url}))) as client:
            assert code(client.post("/proxy", content=BYTES)) == (502, "upstream_failed")

    @pytest.mark.parametrize("reads", [False, True])
    def test_too_slow(self, hasty: ServerProcess, origin: Origin, reads: bool) -> None:
        over = threading.Event()
        origin.on("/default", lambda visit: (reads and visit.body(), over.wait(60)))
        with session(hasty) as client:
            size = len(BYTES) if reads else 20 * MIB  # more than the kernels hold
            response = client.post("/proxy", content=(BYTES * 7)[:size])
            over.set()
            assert code(response) == (504, "upstream_timeout")

    def test_client_stalls(self, hasty: ServerProcess, origin: Origin) -> None:
        origin.on("/default", echo)
        with wire(hasty) as client:
            client.request("POST /proxy", "Content-Length: 10")
            client.send(b"12345")
            assert client.problem() == (408, "client_stalled")

    @pytest.mark.parametrize("way", ["close", "reset", "end"])
    @pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
    def test_client_goes(
        self, server: ServerProcess, origin: Origin, framing: str, way: str
    ) -> None:
        """The destination sees that the body is not complete."""
        arrived, seen = threading.Event(), []

        def read(visit: Visit) -> None:
            if "chunked" in framing:
                visit.take(len(b"3\r\nabc\r\n"))
            else:
                visit.take(3)
            arrived.set()
            try:
                visit.take(1)
                seen.append("more")
            except (EOFError, ConnectionError):
                seen.append("cut")

        origin.on("/default", read)
        with wire(server) as client:
            client.request("POST /proxy", framing)
            client.chunk(b"abc") if "chunked" in framing else client.send(b"abc")
            assert arrived.wait(60)
            getattr(client, way)()
            eventually(lambda: seen)
        assert seen == ["cut"]

    def test_answer_is_cut(self, server: ServerProcess, origin: Origin) -> None:
        cut = answer(b"abc", "Content-Length: 1000")

        def fail(visit: Visit) -> None:
            visit.body()
            visit.send(cut)

        origin.on("/default", fail)
        with wire(server) as client:
            client.request("POST /proxy", "Content-Length: 1", body=b"x")
            with pytest.raises((IncompleteRead, ConnectionResetError)):
                client.response().read()

    @pytest.mark.parametrize("chunked", [False, True])
    @pytest.mark.parametrize(
        "body",
        [form(*PARTS, end=b""), b"no form", form(*PARTS) + b"more",
         form(*PARTS).replace(b"form-data", b"attachment")],
        ids=["cut", "none", "followed", "odd"],
    )  # fmt: skip
    def test_bad_form(
        self, client: httpx.Client, origin: Origin, body: bytes, chunked: bool
    ) -> None:
        complete: list[bytes] = []

        def read(visit: Visit) -> None:
            complete.append(visit.body())

        origin.on("/default", read)
        sent = iter([body]) if chunked else body
        response = client.post("/proxy", content=sent, headers={"Content-Type": form_type})
        assert code(response) == (400, "bad_form")
        comes_to_nothing(lambda: [v for v in origin.visits if v.socket.fileno() != -1])
        assert complete == []

    def test_form_without_a_byte(self, client: httpx.Client, origin: Origin) -> None:
        origin.on("/default", echo)
        response = client.post("/proxy", content=b"", headers={"Content-Type": form_type})
        assert code(response) == (400, "bad_form")
        assert origin.visits == []

    def test_no_boundary(self, client: httpx.Client, origin: Origin) -> None:
        origin.on("/default", echo)
        response = client.post(
            "/proxy", content=b"x", headers={"Content-Type": "multipart/form-data"}
        )
        assert code(response) == (400, "bad_form")
        assert origin.visits == []

    def test_stops_while_a_destination_reads_no_more(
        self, start: Callable[..., ServerProcess], origin: Origin
    ) -> None:
        """It has answered, and who asked is gone."""
        server = start(settings={"proxy_targets": targets(origin), "drain": 1}, command=SERVE)

        def answer_and_wait(visit: Visit) -> None:
            visit.answer(b"hi")
            threading.Event().wait(20)

        origin.on("/default", answer_and_wait)
        with wire(server) as client:
            client.request("POST /proxy", f"Content-Length: {100 * MIB}")
            client.send(BYTES)
            client.response().read()
            client.reset()
        server.stop()

    def test_loop(self, start: Callable[..., ServerProcess]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as reserved:
            port = reserved.getsockname()[1]
        itself = json.dumps({"a": f"http://127.0.0.1:{port}/proxy"})
        server = start(settings={"port": port, "proxy_targets": itself})
        with session(server) as client:
            assert code(client.post("/proxy", content=BYTES)) == (508, "loop_detected")


def fill(client: Wire, framing: str) -> None:
    """Sends until nobody has taken any more for a second."""
    client.request("POST /proxy", framing)
    client.socket.settimeout(1)
    with suppress(TimeoutError):
        while True:
            client.chunk(BYTES[:65536]) if "chunked" in framing else client.send(BYTES[:65536])


def fill_stream(client: Http2Client) -> int:
    stream = client.request("POST", "/proxy", end=False)
    while client.until(lambda: client.room(stream) > 0, seconds=1):
        client.send(stream, BYTES[: client.room(stream)])
    return stream


@pytest.mark.parametrize("loop", LOOPS)
class TestVanishedClients:
    """Nothing is kept for a client that goes while its destination takes no more."""

    @pytest.fixture
    def stalled(self, origin: Origin) -> Iterator[list[str]]:
        """A destination that reads on once the test is over; what it sees of the end."""
        over, seen = threading.Event(), list[str]()

        def stall(visit: Visit) -> None:
            over.wait(120)
            try:
                visit.body()
                seen.append("whole")
            except (EOFError, ConnectionError):
                seen.append("cut")

        origin.on("/default", stall)
        yield seen
        over.set()
        eventually(lambda: seen)
        assert set(seen) == {"cut"}

    @pytest.fixture
    def patience(self, origin: Origin, loop: str) -> dict[str, object]:
        """Has a server keep a connection, or wait for it, for longer than any test."""
        patience = {"stall_timeout": 600, "drain": 600}
        return {"proxy_targets": targets(origin), "loop": loop, **patience}

    @pytest.fixture
    def lasting(self, shared_server: Servers, patience: dict[str, object]) -> ServerProcess:
        return shared_server(**patience)

    @pytest.mark.usefixtures("stalled")
    @pytest.mark.parametrize("framing", ["Content-Length: 99999999", "Transfer-Encoding: chunked"])
    def test_reset(self, lasting: ServerProcess, framing: str) -> None:
        with wire(lasting) as client:
            fill(client, framing)
            assert lasting.handling() == 1
            client.reset()
            lasting.assert_settled()

    @pytest.mark.usefixtures("stalled")
    @pytest.mark.parametrize("way", ["stream", "connection"])
    def test_http2(self, lasting: ServerProcess, way: str) -> None:
        with http2(lasting) as client:
            stream = fill_stream(client)
            assert lasting.handling() == 1
            client.reset(stream) if way == "stream" else client.close()
            comes_to_nothing(lasting.handling)
            if way == "stream":
                assert client.get("/healthz").status == 200
        lasting.assert_settled()

    @pytest.mark.usefixtures("stalled")
    def test_stops(self, start: Callable[..., ServerProcess], patience: dict[str, object]) -> None:
        server = start(settings=patience)
        with wire(server) as first, wire(server) as second:
            for client in (first, second):
                fill(client, "Content-Length: 99999999")
                client.reset()
            server.stop()


def send_mibs(client: Wire, count: int) -> None:
    for _ in range(count):
        client.send(BYTES[:MIB])


class TestFlow:
    """Pace and memory."""

    def test_slow_destination_holds_the_client(self, server: ServerProcess, origin: Origin) -> None:
        over = threading.Event()
        origin.on("/default", lambda visit: over.wait(60))
        before = server.memory("VmRSS")
        with wire(server) as client:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
            client.request("POST /proxy", "Content-Length: 10000000000")
            sent = [0]

            def push() -> None:
                try:
                    while True:
                        sent[0] += client.socket.send(BYTES[:65536])
                except OSError:
                    pass

            pusher = threading.Thread(target=push)
            pusher.start()
            held = settled_value(lambda: sent[0])
            client.socket.shutdown(socket.SHUT_RDWR)
            pusher.join()
            assert held < 32 * MIB  # the kernels' buffers, mostly
            assert server.memory("VmRSS") - before < 4 * MIB + 4 * MIB  # and the allocator's
            over.set()

    def test_memory(self, start: Callable[..., ServerProcess], origin: Origin) -> None:
        """A body of 600 MiB, there and back, and none of it in memory."""

        def reflect(visit: Visit) -> None:
            size = int(visit.head["content-length"])
            visit.send(answer(b"", f"Content-Length: {size}"))
            while size:
                data = visit.take(min(size, 65536))
                visit.send(data)
                size -= len(data)

        origin.on("/default", reflect)
        server = start(settings={"proxy_targets": targets(origin)}, command=SERVE)
        peaks = []
        for count in (20, 600):
            with wire(server) as client:
                client.request("POST /proxy", f"Content-Length: {count * MIB}")
                sender = threading.Thread(target=send_mibs, args=[client, count])
                sender.start()
                response = client.response()
                size = 0
                while data := response.read(MIB):
                    size += len(data)
                sender.join()
            assert size == count * MIB
            peaks.append(server.memory())
        assert peaks[1] - peaks[0] < 16 * MIB

    def test_many_at_once(self, server: ServerProcess, origin: Origin) -> None:
        """None waits for another."""
        over = threading.Event()
        count = 150

        def wait(visit: Visit) -> None:
            visit.body()
            if len(origin.visits) >= count:
                over.set()
            over.wait(60)
            visit.answer(b"x")

        origin.on("/default", wait)

        async def one() -> bytes:
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(b"POST /proxy HTTP/1.1\r\nHost: a\r\nConnection: close\r\n")
            writer.write(b"Content-Length: 1\r\n\r\nx")
            said = await reader.read()
            writer.close()
            return said

        async def all_of_them() -> list[bytes]:
            return await asyncio.gather(*(one() for _ in range(count)))

        assert all(said.endswith(b"\r\n\r\nx") for said in asyncio.run(all_of_them()))
