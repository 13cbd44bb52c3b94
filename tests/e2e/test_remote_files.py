"""`GET /{url}` and `POST /fetch` against servers that behave, and servers that do not."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from contextlib import suppress
from http.client import IncompleteRead
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.e2e.clients import MIB, content, curl, session, sha256, wire
from tests.e2e.origins import Origin, Visit, answer
from tests.waiting import comes_to_nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

    from tests.conftest import Servers
    from tests.server_process import ServerProcess

BYTES = content(3 * MIB + 17)

STALL_SECONDS = 1


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    running = Origin()
    yield running
    running.close()


@pytest.fixture
def server(shared_server: Servers, origin: Origin) -> ServerProcess:
    return shared_server(
        allow_fetch=json.dumps([origin.netloc]),
        stall_timeout=STALL_SECONDS,
        max_upload_size=8 * MIB,
    )


@pytest.fixture
def patient(shared_server: Servers, origin: Origin) -> ServerProcess:
    """Whatever ends a transfer here, it is not the stall timeout."""
    return shared_server(allow_fetch=json.dumps([origin.netloc]))


@pytest.fixture
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    with session(server) as client:
        yield client


def relayed(client: httpx.Client, url: str, **options: Any) -> httpx.Response:
    """An answer to `GET /{url}`, read whole."""
    return client.get(f"{client.base_url}/{url}", **options)


def code(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, response.json()["code"]


class TestRelay:
    """What passes, and how."""

    def test_bytes_status_and_fields(self, client: httpx.Client, origin: Origin) -> None:
        fields = (
            'ETag: "a"', "Last-Modified: Sat, 21 Nov 2026 07:00:00 GMT", "Content-Type: a/b",
            "Accept-Ranges: bytes", "Set-Cookie: a=b", "X-Accel-Redirect: /protected/x",
            "Connection: close, X-Own", "X-Own: 1", "Keep-Alive: timeout=9",
        )  # fmt: skip
        url = origin.on("/file", lambda visit: visit.answer(BYTES, *fields))
        response = relayed(client, url)
        assert response.status_code == 200
        assert response.content == BYTES
        told = response.headers
        assert (told["etag"], told["content-type"]) == ('"a"', "a/b")
        assert told["last-modified"] == "Sat, 21 Nov 2026 07:00:00 GMT"
        assert (told["accept-ranges"], told["content-length"]) == ("bytes", str(len(BYTES)))
        gone = {"set-cookie", "x-accel-redirect", "x-own", "keep-alive"}
        assert not gone & told.keys()
        assert told["content-security-policy"] == "sandbox"
        assert told["x-content-type-options"] == "nosniff"

    @pytest.mark.parametrize(
        ("fields", "sandboxed"),
        [(["video/mp4"], False), (["audio/x-odd; a=b"], False), (["Image/PNG"], False),
         (["application/pdf"], False), (["text/plain;charset=utf-8"], False), (["text/html"], True),
         (["image/svg+xml"], True), (["image/png;,text/html"], True), (["a/b"], True), ([], True),
         (["image/png", "text/html"], True), (["video/x+xml"], True)],
    )  # fmt: skip
    def test_sandbox(
        self, client: httpx.Client, origin: Origin, fields: list[str], sandboxed: bool
    ) -> None:
        """Media must play as pages of their own, and documents must not act as ours."""
        lines = [f"Content-Type: {field}" for field in fields]
        url = origin.on("/file", lambda visit: visit.answer(b"x", *lines))
        for method in ("GET", "HEAD"):
            told = client.request(method, f"{client.base_url}/{url}").headers
            assert told.get("content-security-policy") == ("sandbox" if sandboxed else None)
            assert told["x-content-type-options"] == "nosniff"

    @pytest.mark.parametrize("stops", [False, True])
    def test_connection_at_rest(
        self, start: Callable[..., ServerProcess], origin: Origin, stops: bool
    ) -> None:
        """It ends with its time, or with the service."""
        left = threading.Event()

        def stay(visit: Visit) -> None:
            visit.answer(b"x")
            visit.is_left()
            left.set()

        url = origin.on("/rest", stay)
        server = start(settings={"allow_fetch": json.dumps([origin.netloc])})
        with session(server) as client:
            assert relayed(client, url).content == b"x"
        if stops:
            server.stop()
        assert left.wait(60)

    def test_url_as_it_is(self, client: httpx.Client, origin: Origin) -> None:
        origin.on("/a%20b%2Fc", lambda visit: visit.answer(b"x"))
        for path in ("/a%20b%2Fc?x=1%2B2&y=http://z/?", "/a%20b%2Fc?"):
            target = f"/{origin.url}{path}"
            done = curl("--path-as-is", f"{client.base_url}{target}".replace("//http", "/http"))
            assert done == b"x"
        asked = [visit.path for visit in origin.visits]
        assert asked[0] == "/a%20b%2Fc?x=1%2B2&y=http://z/?"

    def test_url_encoded_or_with_a_slash_merged(
        self, server: ServerProcess, origin: Origin
    ) -> None:
        url = origin.on("/file", lambda visit: visit.answer(visit.path.encode()))
        for path in (quote(f"{url}?a=b", safe=""), f"{url}?a=b".replace("//", "/")):
            with wire(server) as client:
                client.request(f"GET /{path}")
                assert client.response("GET").read() == b"/file?a=b"

    @pytest.mark.parametrize("authority", ["{netloc}", "other.example", "[::1]:80"])
    def test_absolute_form(self, server: ServerProcess, origin: Origin, authority: str) -> None:
        """Of a client that takes the service for its proxy (RFC 9112, 3.2.2)."""
        url = origin.on("/file", lambda visit: visit.answer(visit.path.encode()))
        target = f"http://{authority.format(netloc=f'127.0.0.1:{server.port}')}/{url}"
        asked = f"{url}?a=/b?c"
        for form in (target.replace(url, asked), target.replace(url, quote(asked, safe=""))):
            with wire(server) as client:
                client.request(f"GET {form}")
                response = client.response("GET")
                assert (response.status, response.read()) == (200, b"/file?a=/b?c"), form

    @pytest.mark.parametrize("path", ["/a", "/http:x", "/?http://x/", "/files/x/http://a"])
    def test_service_is_no_proxy(self, server: ServerProcess, origin: Origin, path: str) -> None:
        """In absolute form the target is a path of the service, whatever host comes before."""
        origin.on("/a", lambda visit: visit.answer(b"secret"))
        with wire(server) as client:
            client.request(f"GET {origin.url}{path}")
            assert client.response("GET").status == 404
        assert origin.visits == []

    def test_head(self, client: httpx.Client, origin: Origin) -> None:
        url = origin.on("/file", lambda visit: visit.send(answer(b"", "Content-Length: 5000")))
        response = client.head(f"{client.base_url}/{url}")
        assert (response.status_code, response.headers["content-length"]) == (200, "5000")
        assert origin.visits[0].line == "HEAD /file HTTP/1.1"

    def test_range(self, client: httpx.Client, origin: Origin) -> None:
        def part(visit: Visit) -> None:
            assert visit.head["range"] == "bytes=5-9"
            assert visit.head["if-range"] == '"a"'
            visit.answer(BYTES[5:10], "Content-Range: bytes 5-9/100", status="206 Partial Content")

        url = origin.on("/file", part)
        response = relayed(client, url, headers={"Range": "bytes=5-9", "If-Range": '"a"'})
        assert (response.status_code, response.content) == (206, BYTES[5:10])
        assert response.headers["content-range"] == "bytes 5-9/100"

    @pytest.mark.parametrize("status", ["304 Not Modified", "204 No Content"])
    def test_without_body(self, client: httpx.Client, origin: Origin, status: str) -> None:
        head = f'HTTP/1.1 {status}\r\nETag: "a"\r\nContent-Length: 5\r\n\r\n'.encode()
        url = origin.on("/file", lambda visit: visit.send(head))
        response = relayed(client, url, headers={"If-None-Match": '"a"'})
        assert response.status_code == int(status[:3])
        assert response.headers["etag"] == '"a"'
        assert not {"content-type", "content-length"} & response.headers.keys()
        assert origin.visits[0].head["if-none-match"] == '"a"'

    @pytest.mark.parametrize("status", ["404 Not Found", "500 Oops", "416 No", "401 Who"])
    def test_refusals_pass(self, client: httpx.Client, origin: Origin, status: str) -> None:
        url = origin.on("/file", lambda visit: visit.answer(b"why", status=status))
        response = relayed(client, url)
        assert (response.status_code, response.content) == (int(status[:3]), b"why")

    def test_chunked_and_without_end(self, client: httpx.Client, origin: Origin) -> None:
        chunked = answer(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "Transfer-Encoding: chunked")
        assert relayed(client, origin.on("/a", lambda v: v.send(chunked))).content == b"abcde"
        old = b"HTTP/1.0 200 OK\r\n\r\nabcde"
        assert relayed(client, origin.on("/b", lambda v: v.send(old))).content == b"abcde"

    def test_chunks_of_a_byte(self, client: httpx.Client, origin: Origin) -> None:
        """They block nobody: the server is watched."""
        many = answer(b"1\r\nx\r\n" * 30_000 + b"0\r\n\r\n", "Transfer-Encoding: chunked")
        url = origin.on("/file", lambda visit: visit.send(many))
        assert relayed(client, url).content == b"x" * 30_000
        assert client.post("/fetch", json={"url": url}).json()["size"] == 30_000

    def test_coding_stays(self, client: httpx.Client, origin: Origin) -> None:
        packed = gzip.compress(BYTES)
        url = origin.on("/file", lambda visit: visit.answer(packed, "Content-Encoding: gzip"))
        with client.stream("GET", f"{client.base_url}/{url}") as response:
            assert response.headers["content-encoding"] == "gzip"
            assert b"".join(response.iter_raw()) == packed
        assert origin.visits[0].head["accept-encoding"] == client.headers["accept-encoding"]
        assert curl(f"{client.base_url}/{url}") == packed
        assert origin.visits[1].head["accept-encoding"] == "identity"

    def test_what_is_not_passed_on(self, client: httpx.Client, origin: Origin) -> None:
        url = origin.on("/file", lambda visit: visit.answer(b"x"))
        relayed(client, url, headers={"Cookie": "a=b", "Authorization": "Basic eA==", "X-A": "b"})
        asked = origin.visits[0].head
        assert not {"cookie", "authorization", "x-a"} & asked.keys()
        assert asked["host"] == origin.netloc

    def test_cookies_do_not_stick(self, client: httpx.Client, origin: Origin) -> None:
        url = origin.on("/file", lambda visit: visit.answer(b"x", "Set-Cookie: a=b; Path=/"))
        relayed(client, url)
        relayed(client, url)
        assert "cookie" not in origin.visits[1].head

    def test_bytes_come_as_they_arrive(self, server: ServerProcess, origin: Origin) -> None:
        read = threading.Event()

        def slow(visit: Visit) -> None:
            visit.send(answer(b"abc", "Content-Length: 6"))
            read.wait(60)
            visit.send(b"def")

        url = origin.on("/file", slow)
        with wire(server) as client:
            client.request(f"GET /{url}")
            response = client.response("GET")
            assert response.read(3) == b"abc"
            read.set()
            assert response.read() == b"def"

    def test_interim_answers(self, client: httpx.Client, origin: Origin) -> None:
        early = b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"
        url = origin.on("/file", lambda visit: visit.send(early * 3 + answer(b"x")))
        assert relayed(client, url).content == b"x"


class TestPolicy:
    """What is refused."""

    @pytest.mark.parametrize(
        "netloc",
        [
            "127.0.0.1:{other}", "localhost:{port}", "LOCALHOST.:{port}", "[::1]:{port}",
            "0.0.0.0:{port}", "127.1:{port}", "2130706433:{port}", "0x7f.1:{port}",
            "0177.0.0.1:{port}", "[::ffff:127.0.0.1]:{port}", "[64:ff9b::7f00:1]:{port}",
            "[2002:7f00:1::]:{port}", "169.254.169.254", "[fd00:ec2::254]", "10.0.0.1",
            "100.64.0.1", "224.0.0.1", "255.255.255.255", "a.localhost", "1.1.1.1:22",
            "127.0.0.2:{port}", "[fe80::1%25lo]:{port}",
        ],
    )  # fmt: skip
    def test_address(self, client: httpx.Client, origin: Origin, netloc: str) -> None:
        origin.on("/", lambda visit: visit.answer(b"secret"))
        url = f"http://{netloc.format(port=origin.port, other=client.base_url.port)}/"
        for response in (relayed(client, url), client.post("/fetch", json={"url": url})):
            assert code(response) == (403, "blocked_address"), url
        assert origin.visits == []

    @pytest.mark.parametrize(
        "url",
        ["ftp://a.org/x", "file:///etc/passwd", "gopher://a.org/1", "http:///x", "http://a b/",
         "http://user:password@127.0.0.1:{port}/", "http://user@127.0.0.1:{port}/",
         "http://127.0.0.1:x/", "http://[::1/", "http://a.org:99999/",
         "http://\ud800/", "http://a.org:²/"],
    )  # fmt: skip
    def test_url(self, client: httpx.Client, origin: Origin, url: str) -> None:
        origin.on("/", lambda visit: visit.answer(b"secret"))
        url = url.format(port=origin.port)
        body = json.dumps({"url": url})
        assert code(client.post("/fetch", content=body)) == (400, "bad_url")
        encoded = quote(url, safe="", errors="replace")
        assert relayed(client, encoded).status_code in {400, 404}
        assert origin.visits == []

    @pytest.mark.parametrize(
        "body", ["", "x", "[]", "{}", "[" * 60_000, '{"url": 1}', '{"url": "a", "name": 1}']
    )
    def test_request_to_fetch(self, client: httpx.Client, body: str) -> None:
        assert code(client.post("/fetch", content=body)) == (400, "bad_request")

    @pytest.mark.parametrize(
        "place",
        ["http://localhost:{port}/file", "http://169.254.169.254/", "//10.0.0.1/", "//localhost/",
         "http://[::1]:{port}/", "http://%5B::1%5D:{port}/", "http://127.1/", "http://1.1.1.1:22/",
         "http://%31%30.0.0.1/", "http://\uff11\uff10.0.0.1/"],
    )  # fmt: skip
    @pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 Other", "307 T", "308 P"])
    def test_redirect(self, client: httpx.Client, origin: Origin, place: str, status: str) -> None:
        place = f"Location: {place.format(port=origin.port)}"
        url = origin.on("/away", lambda visit: visit.answer(b"x" * 5000, place, status=status))
        assert code(relayed(client, url)) == (403, "blocked_address")
        assert len(origin.visits) == 1

    @pytest.mark.parametrize(
        "place",
        ["ftp://a.org/", "file:///etc/passwd", "http://user:x@127.0.0.1:{port}/file", "http://[/",
         "//[", "http://a..b/", "http://a.org:99999/", "http://a.org:x/", "http:///x", "http://",
         "http://a%2fb/", "http://a%00b/", "http://\xff/", "javascript:alert(1)", "http://%ff/",
         "http://user@a.org/", "http://a b/", "http://xn--\u207f/", "data:,x", "http://a\\b/"],
    )  # fmt: skip
    def test_bad_redirect(self, client: httpx.Client, origin: Origin, place: str) -> None:
        """It is the fault of the other server."""
        place = f"Location: {place.format(port=origin.port)}"
        url = origin.on("/away", lambda visit: visit.answer(b"x", place, status="302 Found"))
        assert code(relayed(client, url)) == (502, "upstream_failed")
        assert code(client.post("/fetch", json={"url": url})) == (502, "upstream_failed")
        assert len(origin.visits) == 2

    @pytest.mark.parametrize("way", ["path", "fetch", "redirect"])
    @pytest.mark.parametrize("host", ["b%C3%BCcher.lan", "127.0.0.1", "%31%32%37.0.0.1"])
    def test_encoded_host(
        self, shared_server: Servers, origin: Origin, host: str, way: str
    ) -> None:
        """It is decoded and mapped before the policy judges it, and asked for by that name."""
        excepted = ["b\u00fccher.lan", "127.0.0.1"]
        allowed = json.dumps([f"{host}:{origin.port}" for host in excepted])
        url = f"http://{host}:{origin.port}/file"
        there = origin.on("/to", lambda v: v.answer(b"", f"Location: {url}", status="302 Found"))
        origin.on("/file", lambda visit: visit.answer(visit.head["host"].encode()))
        with session(shared_server(allow_fetch=allowed)) as client:
            if way == "fetch":
                response = client.post("/fetch", json={"url": url})
            else:
                response = relayed(client, url if way == "path" else there)
            if "lan" in host:  # it is allowed, but no name server knows it
                assert code(response) == (502, "upstream_failed")
            else:
                assert response.is_success
                assert origin.visits[-1].head["host"] == origin.netloc

    def test_encoded_brackets(self, shared_server: Servers) -> None:
        """As every client writes them in a path."""
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
            netloc = f"[::1]:{listener.getsockname()[1]}"

            def serve() -> None:
                connection, _ = listener.accept()
                with connection:
                    assert f"Host: {netloc}\r\n".encode() in connection.recv(65536)
                    connection.sendall(answer(b"x", "Connection: close"))

            thread = threading.Thread(target=serve)
            thread.start()
            server = shared_server(allow_fetch=json.dumps([netloc]))
            with wire(server) as client:
                client.request(f"GET /http://{quote(netloc, safe=':')}/file")
                assert client.response("GET").read() == b"x"
            thread.join()

    @pytest.mark.parametrize(
        "host",
        ["%5B::1%5D", "%5B::ffff:127.0.0.1%5D", "127%2e0.0.1", "%6cocalhost", "localhost%00",
         "127.0.0.1%2f", "127.0.0.1%252f", "127.0.0.1%40example.org", "%EF%BC%91%EF%BC%92%37.0.0.1",
         "127%E3%80%820%E3%80%820%E3%80%821", "%E2%93%9Bocalhost", "loc%C2%ADalhost", "%ff"],
    )  # fmt: skip
    def test_encoded_host_that_is_forbidden(
        self, shared_server: Servers, origin: Origin, host: str
    ) -> None:
        origin.on("/", lambda visit: visit.answer(b"secret"))
        url = f"http://{host}:{origin.port}/"
        with wire(shared_server()) as client:
            for target in (f"/{url}", f"/{quote(url, safe='')}"):
                client.request(f"GET {target}")
                response = client.response("GET")
                status, told = response.status, json.loads(response.read())["code"]
                assert (status, told) in {(403, "blocked_address"), (400, "bad_url")}
        assert origin.visits == []

    def test_redirects_are_followed(self, client: httpx.Client, origin: Origin) -> None:
        url = origin.on("/a", lambda v: v.answer(b"", "Location: /b?c=d", status="302 Found"))
        origin.on("/b", lambda visit: visit.answer(b"found"))
        response = relayed(client, url, headers={"Range": "bytes=0-"})
        assert (response.status_code, response.content) == (200, b"found")
        assert [visit.path for visit in origin.visits] == ["/a", "/b?c=d"]
        assert origin.visits[1].head["range"] == "bytes=0-"

    def test_redirects_without_end(self, client: httpx.Client, origin: Origin) -> None:
        url = origin.on("/a", lambda visit: visit.answer(b"", "Location: /a", status="302 Found"))
        assert code(relayed(client, url)) == (502, "upstream_failed")
        assert len(origin.visits) == 11

    def test_body_of_a_redirect_is_not_read(self, client: httpx.Client, origin: Origin) -> None:
        def endless(visit: Visit) -> None:
            visit.send(answer(b"", "Location: /b", "Content-Length: 99999999", status="302 Found"))
            while True:
                visit.send(BYTES)

        url = origin.on("/a", endless)
        origin.on("/b", lambda visit: visit.answer(b"found"))
        assert relayed(client, url).content == b"found"

    def test_loop(self, shared_server: Servers, origin: Origin) -> None:
        """Of a service that may fetch from itself."""
        with socket.create_server(("127.0.0.1", 0)) as reserved:
            port = reserved.getsockname()[1]
        server = shared_server(port=port, allow_fetch=json.dumps([f"127.0.0.1:{port}"]))
        with session(server) as client:
            nested = f"{server.base_url}/{server.base_url}/healthz"
            assert relayed(client, f"{server.base_url}/healthz").json() == {"status": "ok"}
            assert code(relayed(client, nested)) == (508, "loop_detected")

    def test_environment_is_not_asked(self, start: Any, origin: Origin) -> None:
        """Neither for a proxy nor for a password."""
        variables = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), "http://127.0.0.1:1")
        server = start(settings={"allow_fetch": json.dumps([origin.netloc])}, variables=variables)
        url = origin.on("/file", lambda visit: visit.answer(b"x"))
        with session(server) as client:
            assert relayed(client, url).content == b"x"


BROKEN = {
    "no HTTP": b"SSH-2.0-OpenSSH\r\n",
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "endless head": b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 20_000,
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "interim answers without end": b"HTTP/1.1 102 Processing\r\n\r\n" * 1000,
}

CUT = {
    "length": answer(b"abc", "Content-Length: 1000000"),
    "chunk": answer(b"100\r\nabc", "Transfer-Encoding: chunked"),
    "last chunk": answer(b"3\r\nabc\r\n", "Transfer-Encoding: chunked"),
    "bad chunk": answer(b"3\r\nabc\r\nzz\r\n", "Transfer-Encoding: chunked"),
}


class TestTrouble:
    """Servers that fail, and clients that go."""

    @pytest.mark.parametrize("name", BROKEN)
    def test_no_answer(self, client: httpx.Client, origin: Origin, name: str) -> None:
        url = origin.on("/file", lambda visit: visit.send(BROKEN[name]))
        assert code(relayed(client, url)) == (502, "upstream_failed")
        assert code(client.post("/fetch", json={"url": url})) == (502, "upstream_failed")

    def test_nobody_there(self, shared_server: Servers) -> None:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            port = gone.getsockname()[1]
        with session(shared_server(allow_fetch=json.dumps([f"127.0.0.1:{port}"]))) as client:
            for url in (f"http://127.0.0.1:{port}/", "http://no-such-name.invalid/"):
                assert code(relayed(client, url)) == (502, "upstream_failed")
                assert code(client.post("/fetch", json={"url": url})) == (502, "upstream_failed")

    def test_no_tls(self, client: httpx.Client, origin: Origin) -> None:
        url = origin.url.replace("http:", "https:")
        assert code(relayed(client, url + "/")) == (502, "upstream_failed")

    def test_head_that_drips(self, client: httpx.Client, origin: Origin) -> None:
        def drip(visit: Visit) -> None:
            visit.send(b"HTTP/1.1 200 OK\r\n")
            with suppress(OSError):
                for _ in range(100):
                    visit.send(b"X: y\r\n")
                    time.sleep(STALL_SECONDS / 4)

        url = origin.on("/file", drip)
        assert code(relayed(client, url)) == (504, "upstream_timeout")

    def test_silence(self, client: httpx.Client, origin: Origin) -> None:
        url = origin.on("/file", lambda visit: visit.is_left())
        assert code(relayed(client, url)) == (504, "upstream_timeout")
        assert code(client.post("/fetch", json={"url": url})) == (504, "upstream_timeout")

    @pytest.mark.parametrize("way", ["end", "reset"])
    @pytest.mark.parametrize("name", CUT)
    def test_cut_is_seen(self, server: ServerProcess, origin: Origin, name: str, way: str) -> None:
        read = threading.Event()

        def cut(visit: Visit) -> None:
            visit.send(CUT[name])
            read.wait(60)
            if way == "reset":
                visit.reset()

        url = origin.on("/file", cut)
        with wire(server) as client:
            client.request(f"GET /{url}")
            response = client.response("GET")
            assert response.read(3) == b"abc"
            read.set()
            with pytest.raises((IncompleteRead, ConnectionResetError)):
                response.read()

    def test_stall_is_seen(self, server: ServerProcess, origin: Origin) -> None:
        left = threading.Event()

        def stall(visit: Visit) -> None:
            visit.send(CUT["length"])
            visit.is_left()
            left.set()

        url = origin.on("/file", stall)
        with wire(server) as client:
            client.request(f"GET /{url}")
            with pytest.raises(IncompleteRead):
                client.response("GET").read()
            assert left.wait(60)

    @pytest.mark.parametrize("name", CUT)
    def test_fetch_stores_nothing(
        self, server: ServerProcess, client: httpx.Client, origin: Origin, name: str
    ) -> None:
        before = server.rows().keys()
        url = origin.on("/file", lambda visit: visit.send(CUT[name]))
        assert code(client.post("/fetch", json={"url": url})) == (502, "upstream_failed")
        assert server.rows().keys() == before
        assert server.blobs().keys() == before

    @pytest.mark.parametrize("way", ["close", "reset"])
    @pytest.mark.parametrize("begun", [False, True])
    def test_client_goes(
        self, patient: ServerProcess, origin: Origin, way: str, begun: bool
    ) -> None:
        arrived, left = threading.Event(), threading.Event()

        def long(visit: Visit) -> None:
            visit.send(CUT["length"] if begun else b"HTTP/1.1 200 OK\r\n")
            arrived.set()
            visit.is_left()
            left.set()

        url = origin.on("/file", long)
        with wire(patient) as client:
            client.request(f"GET /{url}")
            assert arrived.wait(60)
            if begun:
                assert client.response("GET").read(3) == b"abc"
            getattr(client, way)()
        assert left.wait(60)

    def test_client_that_ends_its_side_only(self, patient: ServerProcess, origin: Origin) -> None:
        """As `nc -N` does: it still reads."""
        ended = threading.Event()

        def late(visit: Visit) -> None:
            ended.wait(60)
            visit.answer(BYTES)

        url = origin.on("/file", late)
        with wire(patient) as client:
            client.request(f"GET /{url}")
            client.end()
            ended.set()
            assert client.response("GET").read() == BYTES

    def test_slow_client_holds_the_origin(self, server: ServerProcess, origin: Origin) -> None:
        sent: list[int] = []

        def endless(visit: Visit) -> None:
            visit.send(answer(b"", f"Content-Length: {10_000 * MIB}"))
            while True:
                visit.send(BYTES[:MIB])
                sent.append(MIB)

        url = origin.on("/file", endless)
        with wire(server, 64 * 1024) as client:
            client.request(f"GET /{url}")
            client.response("GET").read(1)
            comes_to_nothing(server.leftovers)  # it is given up as stalled
        assert sum(sent) < 64 * MIB


class TestFetch:
    """What is stored."""

    def test_file(self, client: httpx.Client, origin: Origin) -> None:
        url = origin.on("/a/b%20c.csv", lambda visit: visit.answer(BYTES, "Content-Type: text/csv"))
        response = client.post("/fetch", json={"url": f"{url}?d=e"}, headers={"Expires-In": "60"})
        assert response.status_code == 201
        file = response.json()
        assert (file["name"], file["size"], file["media_type"]) == (
            "b c.csv", len(BYTES), "text/csv",
        )  # fmt: skip
        assert file["sha256"] == sha256(BYTES)
        assert file["expires_at"] is not None
        assert response.headers["location"] == file["url"]
        assert client.get(file["url"]).content == BYTES
        assert client.get(f"/files/{file['id']}/info").json() == file

    @pytest.mark.parametrize(
        ("given", "disposition", "name"),
        [("../x y.bin", "", "x y.bin"), (None, 'attachment; filename="d.bin"', "d.bin"),
         (None, "attachment; filename*=UTF-8''%E2%82%AC.bin", "€.bin"), (None, "", "u.bin")],
    )  # fmt: skip
    def test_name(
        self, client: httpx.Client, origin: Origin, given: str | None, disposition: str, name: str
    ) -> None:
        fields = [f"Content-Disposition: {disposition}"] if disposition else []
        url = origin.on("/u.bin", lambda visit: visit.answer(b"x", *fields))
        wanted = {"url": url} | ({"name": given} if given else {})
        assert client.post("/fetch", json=wanted).json()["name"] == name

    @pytest.mark.parametrize("chunked", [False, True])
    def test_too_large(
        self, server: ServerProcess, client: httpx.Client, origin: Origin, chunked: bool
    ) -> None:
        def large(visit: Visit) -> None:
            framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {9 * MIB}"
            visit.send(answer(b"", framing))
            while True:
                visit.send(b"%x\r\n%b\r\n" % (MIB, BYTES[:MIB]))

        before = server.rows().keys()
        url = origin.on("/file", large)
        assert code(client.post("/fetch", json={"url": url})) == (413, "too_large")
        assert server.rows().keys() == before

    @pytest.mark.parametrize(
        "said",
        [answer(b"x", status="404 Not Found"), answer(b"x", status="206 Partial Content"),
         answer(b"x", "Content-Encoding: gzip"), answer(b"", status="304 Not Modified")],
    )  # fmt: skip
    def test_no_whole_file(
        self, server: ServerProcess, client: httpx.Client, origin: Origin, said: bytes
    ) -> None:
        before = server.rows().keys()
        url = origin.on("/file", lambda visit: visit.send(said))
        assert code(client.post("/fetch", json={"url": url})) == (502, "upstream_failed")
        assert server.rows().keys() == before

    def test_client_goes(self, patient: ServerProcess, origin: Origin) -> None:
        arrived, left = threading.Event(), threading.Event()

        def long(visit: Visit) -> None:
            visit.send(CUT["length"])
            arrived.set()
            visit.is_left()
            left.set()

        url = origin.on("/file", long)
        body = json.dumps({"url": url}).encode()
        with wire(patient) as client:
            client.request("POST /fetch", f"Content-Length: {len(body)}", body=body)
            assert arrived.wait(60)
        assert left.wait(60)
        comes_to_nothing(patient.parts)
