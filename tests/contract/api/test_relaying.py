"""Bytes from other servers, and to them."""

from __future__ import annotations

import json
import re
from email.parser import BytesParser
from email.policy import HTTP
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.contract.api.origins import ETAG, REMOTE, Origin
from tests.contract.api.servers import LIMIT, newest
from tests.e2e.clients import MIB, content, form, form_type, sha256, wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.server_process import ServerProcess

BYTES = content(3 * MIB + 5)


def fetched(client: httpx.Client, url: str, method: str = "GET", **headers: str) -> httpx.Response:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.request(method, f"{client.base_url}/{url}", headers=fields)


class TestStreamedThrough:
    def test_file(self, client: httpx.Client, remote: Origin) -> None:
        response = fetched(client, f"{remote.url}/file")
        assert (response.status_code, response.content == REMOTE) == (200, True)
        assert response.headers["Content-Type"] == "application/x-own"
        assert response.headers["Content-Length"] == str(len(REMOTE))
        assert response.headers["ETag"] == ETAG
        assert response.headers["Accept-Ranges"] == "bytes"
        assert "Last-Modified" in response.headers
        assert response.headers["X-Content-Type-Options"] == "nosniff"

    def test_head(self, client: httpx.Client, remote: Origin) -> None:
        response = fetched(client, f"{remote.url}/file", "HEAD")
        assert (response.status_code, response.content) == (200, b"")
        assert response.headers["Content-Length"] == str(len(REMOTE))

    def test_range(self, client: httpx.Client, remote: Origin) -> None:
        response = fetched(client, f"{remote.url}/file", Range="bytes=10-19")
        assert (response.status_code, response.content) == (206, REMOTE[10:20])
        assert response.headers["Content-Range"] == f"bytes 10-19/{len(REMOTE)}"

    def test_validators(self, client: httpx.Client, remote: Origin) -> None:
        response = fetched(client, f"{remote.url}/file", If_None_Match=ETAG)
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["ETag"] == ETAG

    def test_chunked(self, client: httpx.Client, remote: Origin) -> None:
        assert fetched(client, f"{remote.url}/chunked").content == REMOTE

    def test_status(self, client: httpx.Client, remote: Origin) -> None:
        response = fetched(client, f"{remote.url}/missing")
        assert (response.status_code, response.content) == (404, b"not here")
        assert response.headers["Content-Type"] == "text/plain"

    def test_without_a_type(self, client: httpx.Client, remote: Origin) -> None:
        assert fetched(client, f"{remote.url}/untyped").content == b"untyped"

    @pytest.mark.parametrize(
        "target",
        [
            "/mirror?a=b&c=%20d&e",
            "/a%2Fb%20c",
            "/mirror?",
            "/x//y",
            "/%E2%82%AC?%E2=%82",
            "/a%0Ab%0D",
            "/a%0A",
        ],
    )
    def test_target_as_it_was_sent(
        self, server: ServerProcess, remote: Origin, target: str
    ) -> None:
        with wire(server) as client:
            client.request(f"GET /{remote.url}{target}")
            asked = json.loads(client.response("GET").read())["target"]
        assert asked.rstrip("?") == target.rstrip("?")

    def test_hop_by_hop(self, client: httpx.Client, remote: Origin) -> None:
        response = fetched(client, f"{remote.url}/hops")
        assert response.content == b"hops"
        assert not {"x-hop", "keep-alive"} & response.headers.keys()
        asked = fetched(client, f"{remote.url}/mirror", Connection="X-Secret", X_Secret="1")
        assert "X-Secret" not in asked.json()["headers"]

    def test_host_is_the_other_servers(self, client: httpx.Client, remote: Origin) -> None:
        asked = fetched(client, f"{remote.url}/mirror").json()["headers"]
        assert asked["Host"] == remote.authority

    def test_redirect(self, client: httpx.Client, remote: Origin) -> None:
        for location in (f"{remote.url}/file", "/file", "file"):
            response = fetched(client, f"{remote.url}/redirect?{location}")
            assert (response.status_code, response.content == REMOTE) == (200, True)

    def test_endless_redirect(self, client: httpx.Client, remote: Origin) -> None:
        response = fetched(client, f"{remote.url}/redirect?/redirect?/redirect?/redirect")
        assert response.status_code == 200 or response.status_code >= 500
        response = fetched(client, f"{remote.url}/redirect?")
        assert (response.status_code, response.json()["code"]) == (502, "upstream_failed")

    def test_streams(self, client: httpx.Client, remote: Origin) -> None:
        """The first half is there before the other server has the second."""
        remote.go_on.clear()
        with client.stream("GET", f"{client.base_url}/{remote.url}/slow") as response:
            received = b""
            for piece in response.iter_raw():
                received += piece
                if len(received) >= MIB // 2:
                    remote.go_on.set()
        assert received == REMOTE

    def test_cut_short(self, client: httpx.Client, remote: Origin) -> None:
        with pytest.raises(httpx.RemoteProtocolError):
            fetched(client, f"{remote.url}/short")


class TestBlocked:
    @pytest.fixture(autouse=True)
    def _is_not_reached(self, blocked: Origin) -> Iterator[None]:
        yield
        assert blocked.requests == 0

    @pytest.mark.parametrize(
        "host",
        [
            "127.0.0.1",
            "localhost",
            "0.0.0.0",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[64:ff9b::7f00:1]",
            "169.254.169.254",
            "10.0.0.1",
            "192.168.0.1",
            "172.16.0.1",
            "100.64.0.1",
            "[fe80::1]",
            "[fd00::1]",
            "metadata.google.internal",
            "localhost.localdomain",
        ],
    )
    @pytest.mark.parametrize("stored", [False, True])
    def test_address(self, client: httpx.Client, blocked: Origin, host: str, stored: bool) -> None:
        url = f"http://{host}:{blocked.server_port}/file"
        response = client.post("/fetch", json={"url": url}) if stored else fetched(client, url)
        assert (response.status_code, response.json()["code"]) == (403, "blocked_address")

    @pytest.mark.parametrize(
        "host", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.1.", "LOCALHOST"]
    )
    def test_odd_spelling(self, client: httpx.Client, blocked: Origin, host: str) -> None:
        response = fetched(client, f"http://{host}:{blocked.server_port}/file")
        assert response.status_code in {400, 403}

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
    def test_redirect(
        self, client: httpx.Client, remote: Origin, blocked: Origin, host: str
    ) -> None:
        location = f"http://{host}:{blocked.server_port}/file"
        response = fetched(client, f"{remote.url}/redirect?{location}")
        assert (response.status_code, response.json()["code"]) == (403, "blocked_address")

    def test_another_name_of_an_exception(self, client: httpx.Client, remote: Origin) -> None:
        """What is listed is a host and a port, not what they lead to."""
        for host in ("localhost", "127.1"):
            response = fetched(client, f"http://{host}:{remote.server_port}/file")
            assert (response.status_code, response.json()["code"]) == (403, "blocked_address")


FAILURES = [
    ("garbage", 502, "upstream_failed"),
    ("hang", 504, "upstream_timeout"),
]


@pytest.mark.parametrize(("path", "status", "code"), FAILURES)
def test_broken_origin(
    client: httpx.Client, remote: Origin, path: str, status: int, code: str
) -> None:
    response = fetched(client, f"{remote.url}/{path}")
    assert (response.status_code, response.json()["code"]) == (status, code)


@pytest.mark.parametrize("path", ["ftp://127.0.0.1/x", "file:///etc/passwd", "http:", "gopher://x"])
def test_no_url_of_the_web(client: httpx.Client, path: str) -> None:
    assert fetched(client, path).status_code in {400, 404}


class TestStored:
    def fetch(self, client: httpx.Client, **members: Any) -> httpx.Response:
        return client.post("/fetch", json=members)

    def test_file(self, client: httpx.Client, remote: Origin) -> None:
        response = self.fetch(client, url=f"{remote.url}/file")
        file = response.json()
        assert response.status_code == 201
        assert response.headers["Location"] == file["url"]
        assert (file["size"], file["sha256"]) == (len(REMOTE), sha256(REMOTE))
        assert (file["name"], file["media_type"]) == ("file", "application/x-own")
        assert client.get(file["url"]).content == REMOTE

    def test_name(self, client: httpx.Client, remote: Origin) -> None:
        named = self.fetch(client, url=f"{remote.url}/file", name="../a.b").json()
        assert named["name"] == "a.b"
        told = self.fetch(client, url=f"{remote.url}/named").json()
        assert (told["name"], told["media_type"]) == ("€.png", "image/png")

    def test_text_without_a_type(self, client: httpx.Client, remote: Origin) -> None:
        told = self.fetch(client, url=f"{remote.url}/utf8/a.txt").json()
        assert (told["name"], told["media_type"]) == ("a.txt", "text/plain; charset=utf-8")

    def test_redirect(self, client: httpx.Client, remote: Origin) -> None:
        response = self.fetch(client, url=f"{remote.url}/redirect?/chunked")
        assert response.json()["sha256"] == sha256(REMOTE)

    @pytest.mark.parametrize("path", ["short", "missing", "garbage"])
    def test_failed(
        self, server: ServerProcess, client: httpx.Client, remote: Origin, path: str
    ) -> None:
        before = newest(server)
        response = self.fetch(client, url=f"{remote.url}/{path}")
        assert (response.status_code, response.json()["code"]) == (502, "upstream_failed")
        assert newest(server) == before

    @pytest.mark.parametrize(
        "body",
        [b"", b"[]", b"{}", b'{"url": 1}', b'{"url": "http://x", "name": 1}', b"{", b'{"url": ""}',
         b'{"url": "ftp://x/y"}', b'{"url": "/etc/passwd"}'],
    )  # fmt: skip
    def test_malformed(self, client: httpx.Client, body: bytes) -> None:
        headers = {"Content-Type": "application/json"}
        response = client.post("/fetch", content=body, headers=headers)
        assert response.status_code == 400
        assert response.json()["code"].startswith("bad_")


class TestProxied:
    @pytest.mark.parametrize("path", ["/proxy", "/proxy/default", "/proxy/echo"])
    def test_raw(self, client: httpx.Client, path: str) -> None:
        headers = {"Content-Type": "application/x-own", "X-Own": "1"}
        response = client.post(path, content=BYTES, headers=headers)
        assert (response.status_code, response.content == BYTES) == (202, True)
        assert response.headers["Content-Type"] == "application/x-own"
        assert response.headers["X-Sha256"] == sha256(BYTES)
        got = json.loads(response.headers["X-Got"])
        assert got["Content-Length"] == str(len(BYTES))
        assert got["X-Own"] == "1"

    def test_chunked(self, server: ServerProcess) -> None:
        with wire(server) as client:
            client.request("POST /proxy", "Transfer-Encoding: chunked")
            client.chunk(BYTES)
            client.chunk(b"")
            assert client.response().read() == BYTES

    def test_form(self, client: httpx.Client) -> None:
        """It arrives as a form, with the parts as they were: no form within a form."""
        body = form(
            ('name="k"', "für".encode()),
            ('name="f"; filename="a.bin"\r\nContent-Type: application/x-own', BYTES),
            ('name="g"; filename="b.txt"', b""),
        )
        response = client.post("/proxy", content=body, headers={"Content-Type": form_type})
        assert response.status_code == 202
        kind = f"Content-Type: {response.headers['Content-Type']}\r\n\r\n"
        parsed = BytesParser(policy=HTTP).parsebytes(kind.encode() + response.content)
        assert parsed.get_content_type() == "multipart/form-data"
        parts = list(parsed.iter_parts())
        found = [
            (each.get_param("name", header="content-disposition"), each.get_filename())
            for each in parts
        ]
        assert found == [("k", None), ("f", "a.bin"), ("g", "b.txt")]
        assert parts[1].get_content_type() == "application/x-own"
        assert BYTES in response.content
        boundary = re.escape(f"--{parsed.get_boundary()}".encode())
        assert len(re.findall(rb"(?:^|\r\n)" + boundary, response.content)) == 4

    def test_hop_by_hop(self, client: httpx.Client) -> None:
        headers = {"Connection": "X-Secret", "X-Secret": "1", "TE": "trailers"}
        response = client.post("/proxy", content=b"x", headers=headers)
        got = json.loads(response.headers["X-Got"])
        assert not {"X-Secret", "Te"} & got.keys()
        assert "X-Hop" not in response.headers

    def test_refusal_streams_back(self, client: httpx.Client) -> None:
        response = client.post("/proxy/refuse", content=b"x" * 1000)
        assert response.headers["Content-Security-Policy"] == "sandbox"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert (response.status_code, response.content) == (403, b"no")

    @pytest.mark.parametrize(
        ("target", "status", "code"),
        [
            ("nowhere", 404, "no_target"),
            ("down", 502, "upstream_failed"),
            ("garbage", 502, "upstream_failed"),
            ("hang", 504, "upstream_timeout"),
        ],
    )
    def test_failed(self, client: httpx.Client, target: str, status: int, code: str) -> None:
        response = client.post(f"/proxy/{target}", content=b"x")
        assert (response.status_code, response.json()["code"]) == (status, code)

    def test_broken_off(self, server: ServerProcess) -> None:
        with wire(server) as client:
            client.request("POST /proxy", f"Content-Length: {len(BYTES)}", body=BYTES[:-1])
            client.end()
            assert client.problem() == (400, "body_too_short")

    def test_of_any_size(self, client: httpx.Client) -> None:
        large = content(LIMIT + 3 * MIB)
        assert client.post("/proxy", content=large).headers["X-Sha256"] == sha256(large)

    def test_query(self, client: httpx.Client) -> None:
        response = client.post("/proxy?a=%20b&c", content=b"x")
        assert response.headers["X-Target"] == "/echo?a=%20b&c"

    @pytest.mark.parametrize("length", [True, False])
    def test_form_without_its_end(self, client: httpx.Client, remote: Origin, length: bool) -> None:
        """It never arrives as if it were whole."""
        remote.kept = b"nothing yet"
        body = form(('name="f"; filename="a"', BYTES), end=b"")
        response = client.post(
            "/proxy/keep",
            content=body if length else iter([body]),
            headers={"Content-Type": form_type},
        )
        assert (response.status_code, response.json()["code"]) == (400, "bad_form")
        assert remote.kept == b"nothing yet"

    def test_answer_before_the_body_has_ended(self, server: ServerProcess, patience: float) -> None:
        with wire(server) as client:
            client.socket.settimeout(patience)
            client.request("POST /proxy/refuse", f"Content-Length: {2 * MIB}", body=bytes(MIB))
            response = client.response()
            assert (response.status, response.read()) == (403, b"no")
