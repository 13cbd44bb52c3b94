"""HTTP/1 as clients speak it: half-closed, pipelined, asking first, of version 1.0."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from quart_app.server.intake import LOOK_SECONDS
from tests.e2e.clients import MIB, content, form, form_type, session, sha256, upload, wire
from tests.server.conftest import LOOPS
from tests.server.http2_client import http2
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Servers
    from tests.server.conftest import RawServer
    from tests.server_process import ServerProcess

BYTES = content(16 * MIB)
LENGTH = f"Content-Length: {len(BYTES)}"
EXPECT = "Expect: 100-continue"
CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture(params=LOOPS)
def server(request: pytest.FixtureRequest, shared_server: Servers) -> ServerProcess:
    return shared_server(loop=request.param, max_upload_size="64MiB")


class TestHalfClosed:
    """A client that has said all it will may still read its answer (RFC 9112, 9.6)."""

    @pytest.mark.parametrize("ends_after", ["request", "first bytes"])
    def test_download(self, server: ServerProcess, ends_after: str) -> None:
        with session(server) as client:
            path = upload(client, BYTES)["url"]
        with wire(server, 64 * 1024) as client:
            client.request(f"GET {path}")
            if ends_after == "request":
                client.end()
            response = client.response("GET")
            first = response.read(MIB)
            client.end()
            assert first + response.read() == BYTES
            assert client.socket.recv(1) == b""

    def test_upload(self, server: ServerProcess) -> None:
        with wire(server) as client:
            client.request("POST /upload", LENGTH, body=BYTES)
            client.end()
            response = client.response()
            assert json.loads(response.read())["files"][0]["sha256"] == sha256(BYTES)
            assert client.socket.recv(1) == b""

    def test_pipelined_requests(self, server: ServerProcess) -> None:
        with wire(server) as client:
            for _ in range(5):
                client.request("GET /healthz")
            client.end()
            for _ in range(5):
                response = client.response("GET")
                assert (response.status, len(response.read())) == (200, 16)
            assert client.socket.recv(1) == b""

    @pytest.mark.parametrize(
        ("headers", "body"),
        [
            ([LENGTH], BYTES[:-1]),
            ([LENGTH], BYTES[:1]),
            ([LENGTH], b""),
            ([CHUNKED], b"10\r\n0123456789abcdef\r\n"),
            ([CHUNKED], b"10\r\n0123"),
            ([CHUNKED], b"10"),
            ([CHUNKED], b"10\r\n0123456789abcdef\r\n0\r\n"),
            ([CHUNKED], b""),
            (
                [f"Content-Type: {form_type}", "Content-Length: 1000"],
                form(('name="a"; filename="a"', b"12345"), end=b""),
            ),
        ],
    )
    def test_body_that_is_cut(self, server: ServerProcess, headers: list[str], body: bytes) -> None:
        before = server.rows().keys()
        with wire(server) as client:
            client.request("POST /upload", *headers, body=body)
            client.end()
            assert client.problem() == (400, "body_too_short")
            assert client.socket.recv(1) == b""
        assert server.rows().keys() == before

    @pytest.mark.parametrize("head", [b"", b"GET /hea", b"GET /healthz HTTP/1.1\r\nHost: test\r\n"])
    def test_head_that_is_cut(self, server: ServerProcess, head: bytes) -> None:
        with wire(server) as client:
            client.send(head)
            client.end()
            assert client.socket.recv(100) in {b""} | {b"HTTP/1.1 400 "}


class TestPipelining:
    def test_bodies_of_both_framings(self, server: ServerProcess) -> None:
        """All in one packet, and in packets of 7 bytes."""
        small = BYTES[:5000]
        requests = [
            b"POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: 5000\r\n\r\n" + small,
            b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n",
            b"POST /upload HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n1388\r\n"
            + small + b"\r\n0\r\n\r\n",
            b"POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n",
            b"HEAD /healthz HTTP/1.1\r\nHost: test\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n",
        ]  # fmt: skip
        sent = b"".join(requests)
        for step in (len(sent), 700):
            with wire(server) as client:
                for start in range(0, len(sent), step):
                    client.send(sent[start : start + step])
                for method, status in zip(
                    ["POST", "GET", "POST", "POST", "HEAD", "GET"],
                    [201, 200, 201, 201, 200, 200],
                    strict=True,
                ):
                    response = client.response(method)
                    body = response.read()
                    assert response.status == status
                    if method == "POST" and b'"size":5000' in body.replace(b" ", b""):
                        assert json.loads(body)["files"][0]["sha256"] == sha256(small)
                assert client.socket.recv(1) == b""

    def test_request_behind_a_refused_body(self, server: ServerProcess) -> None:
        with wire(server) as client:
            client.request("POST /nowhere", "Content-Length: 100000", body=bytes(100_000))
            client.request("GET /healthz")
            assert client.problem() == (404, "not_found")
            assert client.response("GET").status == 200

    def test_connection_lives_on_after_early_answers(self, server: ServerProcess) -> None:
        with wire(server) as client:
            for size in (0, 1, 1000, 100_000, 1_000_000):
                client.request("POST /nowhere", f"Content-Length: {size}", body=bytes(size))
                assert client.problem() == (404, "not_found")
            client.request("POST /nowhere", CHUNKED)
            client.chunk(bytes(1000))
            client.chunk(b"")
            assert client.problem() == (404, "not_found")
            client.request("POST /upload", "Content-Length: 3", body=b"abc")
            assert client.response().status == 201

    def test_request_behind_an_answer_that_breaks_off(self, ours: RawServer) -> None:
        """Its connection does not wait for its turn: the fixture sees what stays behind."""
        with wire(ours) as client:
            client.request("GET /fail?start=1", "", "GET /extensions HTTP/1.1", "Host: test")
            assert client.response("GET").read(1)

    @pytest.mark.parametrize("end", [b"\r\n", b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n"])
    def test_what_follows_the_last_request(self, server: ServerProcess, end: bytes) -> None:
        """It is passed over, and the answer to what came before is whole."""
        with session(server) as client:
            path = upload(client, BYTES)["url"]
        with wire(server, 64 * 1024) as client:
            client.request(f"GET {path}", "Connection: close", body=end)
            response = client.response("GET")
            assert response.status == 200
            client.send(end)
            assert response.read() == BYTES
            assert client.socket.recv(1) == b""

    @pytest.mark.parametrize("loop", LOOPS)
    @pytest.mark.parametrize("connection", ["keep-alive", "close"])
    def test_reader_is_late(
        self, start: Callable[..., ServerProcess], loop: str, connection: str
    ) -> None:
        """All was sent long ago; what the client says meanwhile is no reason to reset it."""
        server = start(settings={"loop": loop})
        with session(server) as client:
            path = upload(client, BYTES)["url"]
        with wire(server, 16 * 1024) as client:
            client.request(f"GET {path}", f"Connection: {connection}")
            response = client.response("GET")
            body = response.read(13 * MIB)
            server.process.send_signal(signal.SIGTERM)
            client.send(b"GET /healthz HTTP/1.1\r\nHost: test\r\nX: ")
            while piece := response.read(32 * 1024):
                body += piece
                with suppress(ConnectionError):  # closed as soon as all has come
                    client.send(b"x")
                time.sleep(32 * 1024 / (0.7 * MIB))
            assert body == BYTES
        server.assert_ends_well()

    def test_client_goes_amid_a_download(self, server: ServerProcess) -> None:
        with session(server) as client:
            path = upload(client, BYTES)["url"]
        with wire(server, 64 * 1024) as client:
            client.request(f"GET {path}", "", f"GET {path} HTTP/1.1", "Host: test")
            assert client.response("GET").read(MIB) == BYTES[:MIB]
        server.assert_settled()

    def test_client_goes_while_a_request_waits(self, ours: RawServer) -> None:
        with wire(ours) as client, session(ours) as other:
            client.request("GET /gone", "", "GET /extensions HTTP/1.1", "Host: test")
            eventually(lambda: other.get("/state").json()["seen"][-1:] == ["waiting"])
            client.reset()
            eventually(lambda: other.get("/state").json()["seen"][-1] == "gone")


class TestAskingFirst:
    """`Expect: 100-continue` (RFC 9110, 10.1.1)."""

    def curl(self, server: ServerProcess, path: Path, target: str, *arguments: str) -> str:
        """What curl says of the exchange; it would wait for an hour before it sends unasked."""
        command = ["curl", "--verbose", "--silent", "--show-error", "--max-time", "60"]
        command += ["--expect100-timeout", "3600", "-H", EXPECT, *arguments]
        command += ["--data-binary", f"@{path}", server.base_url + target]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done.stderr
        return done.stderr

    @pytest.mark.parametrize(
        ("target", "size", "headers", "status"),
        [
            ("/upload", 65 * MIB, [], "413 Content Too Large"),
            ("/nowhere", MIB, [], "404 Not Found"),
            ("/healthz", MIB, [], "405 Method Not Allowed"),
            ("/upload", MIB, ["-H", "Content-Encoding: gzip"], "415 Unsupported Media Type"),
        ],
    )
    def test_refused(
        self,
        server: ServerProcess,
        tmp_path: Path,
        target: str,
        size: int,
        headers: list[str],
        status: str,
    ) -> None:
        path = tmp_path / "body"
        with path.open("wb") as file:
            file.truncate(size)
        before = len(server.logs())
        said = self.curl(server, path, target, *headers)
        assert [line for line in said.splitlines() if line.startswith("< HTTP/1.1")] == [
            f"< HTTP/1.1 {status}"
        ]

        def of_this() -> list[dict[str, Any]]:
            return [line for line in server.logs()[before:] if line.get("path") == target]

        assert [line["received"] for line in eventually(of_this)] == [0]

    def test_accepted(self, server: ServerProcess, tmp_path: Path) -> None:
        path = tmp_path / "body"
        path.write_bytes(BYTES)
        said = self.curl(server, path, "/upload", "-H", "Content-Type: application/octet-stream")
        statuses = [line for line in said.splitlines() if line.startswith("< HTTP/1.1")]
        assert statuses == ["< HTTP/1.1 100 Continue", "< HTTP/1.1 201 Created"]

    def test_body_comes_all_the_same(self, server: ServerProcess) -> None:
        """The client may not wait: what it sends is no request of its own."""
        hidden = b"GET /hidden HTTP/1.1\r\nHost: test\r\n\r\n"
        with wire(server) as client:
            client.request("POST /nowhere", f"Content-Length: {len(hidden)}", EXPECT)
            assert client.problem() == (404, "not_found")
            with suppress(ConnectionError):
                client.send(hidden)
                assert client.socket.recv(1) == b""
        assert not [line for line in server.logs() if line.get("path") == "/hidden"]

    def test_version_1_0_knows_no_interim_answers(self, server: ServerProcess) -> None:
        with wire(server) as client:
            client.send(b"POST /upload HTTP/1.0\r\nContent-Length: 3\r\n")
            client.send(b"Expect: 100-continue\r\n\r\nabc")
            assert client.socket.recv(13) == b"HTTP/1.1 201 "


class TestVersion10:
    def test_answer_ends_with_the_connection(self, ours: RawServer) -> None:
        with wire(ours) as client:
            client.send(b"GET /drip?count=3&pause=0 HTTP/1.0\r\n\r\n")
            answer = client.socket.makefile("rb").read().lower()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert (b"chunked" in head, body) == (False, b"0\n1\n2\n")

    @pytest.mark.parametrize("connection", ["", "Connection: keep-alive\r\n"])
    def test_transfers(self, server: ServerProcess, connection: str) -> None:
        with session(server) as client:
            path = upload(client, BYTES)["url"]
        for line, body in ((f"GET {path}", b""), ("POST /upload", BYTES)):
            with wire(server) as client:
                head = f"{line} HTTP/1.0\r\nContent-Length: {len(body)}\r\n{connection}\r\n"
                client.send(head.encode() + body)
                response = client.response()
                assert response.status in {200, 201}
                answer = response.read()
                assert client.socket.recv(1) == b""
                assert body or answer == BYTES


class TestTargets:
    """The resource that an application is asked for (RFC 9112, 3.2)."""

    def test_absolute_form(self, ours: RawServer) -> None:
        """Its authority replaces the host that the field has."""
        with wire(ours) as client:
            client.request("GET http://Other.example:81/scope?x=http://y/?")
            assert json.loads(client.response("GET").read()) == {
                "method": "GET",
                "path": "/scope",
                "http_version": "1.1",
                "raw_path": "/scope",
                "query": "x=http://y/?",
                "hosts": ["Other.example:81"],
            }
            client.send(b"GET http://other/scope HTTP/1.0\r\n\r\n")
            assert json.loads(client.response("GET").read())["hosts"] == ["other"]

    def test_methods_are_case_sensitive(self, server: ServerProcess) -> None:
        with session(server) as client:
            path = f"/files/{upload(client, b'x')['id']}"
            for method in ("delete", "Delete", "BREW"):
                with wire(server) as raw:
                    raw.request(f"{method} {path}")
                    response = raw.response()
                    assert (response.status, response.reason) == (405, "Method Not Allowed")
                    assert "DELETE" in response.headers["Allow"]
                with http2(server) as streams:
                    answer = streams.answer(streams.request(method, path))
                    assert (answer.status, "allow" in dict(answer.headers)) == (405, True)
            assert client.get(path).content == b"x"

    @pytest.mark.parametrize(
        ("method", "target", "status"),
        [
            ("GET", "?x", 400),
            ("GET", "x", 400),
            ("GET", "*", 400),
            ("GET", "http://test/healthz", 400),
            ("POST", "http://[x/", 400),
            ("OPTIONS", "*", 200),
        ],
    )
    def test_http2(self, server: ServerProcess, method: str, target: str, status: int) -> None:
        with http2(server) as client:
            answer = client.answer(client.request(method, target))
            assert answer.status == status
            assert not answer.body or json.loads(answer.body)["code"] == "bad_request"
            assert client.get("/healthz").status == 200

    @pytest.mark.parametrize("host", ["..x", "a b", "a@b", "a,b", "[x", "a:b", "x" * 64, ""])
    def test_hosts_over_http2(self, server: ServerProcess, host: str) -> None:
        with http2(server) as client:
            stream = client.h2.get_next_available_stream_id()
            pseudo = [(":method", "GET"), (":scheme", "http"), (":path", "/healthz")]
            client.h2.send_headers(stream, [*pseudo, (":authority", host)], end_stream=True)
            client.flush()
            answer = client.answer(stream)
            assert (answer.status, json.loads(answer.body)["code"]) == (400, "bad_request")


def test_trailers_after_many_chunks(ours: RawServer) -> None:
    with wire(ours) as client:
        client.request("POST /read", CHUNKED, "Trailer: X-Sum")
        for number in range(100):
            client.chunk(b"x" * (1 + 1000 * number))
        client.send(b"0\r\nX-Sum: 5\r\n\r\n")
        answer = json.loads(client.response().read())
        assert answer["size"] == 100 + sum(range(100)) * 1000
        assert answer["trailers"] == [["x-sum", "5"]]
        client.request("POST /read", CHUNKED)  # and are not those of the next
        client.chunk(b"")
        assert json.loads(client.response().read())["trailers"] == []


def test_version_1_0_is_offered_no_interim_answers(ours: RawServer) -> None:
    with wire(ours) as client:
        client.send(b"GET /extensions HTTP/1.0\r\nHost: test\r\n\r\n")
        offered = json.loads(client.response("GET").read())
    assert "http.response.early_hint" not in offered
    assert "http.response.zerocopysend" in offered


class TestReadingPauses:
    """Of a connection whose application takes nothing."""

    def test_client_that_waits_is_not_gone(self, ours: RawServer) -> None:
        with wire(ours) as client:
            client.request(f"POST /read?after={2.5 * LOOK_SECONDS}", LENGTH, body=BYTES)
            assert json.loads(client.response().read())["sha256"] == sha256(BYTES)

    def test_client_is_gone(self, ours: RawServer) -> None:
        with wire(ours) as client, session(ours) as other:

            def seen() -> list[str]:
                found: list[str] = other.get("/state").json()["seen"]
                return found

            client.request("POST /gone", LENGTH)
            eventually(lambda: seen()[-1:] == ["waiting"])
            client.socket.settimeout(1)
            with suppress(TimeoutError):
                client.send(BYTES)
            assert seen()[-1] == "waiting"
            client.reset()
            eventually(lambda: seen()[-1] == "gone")
