"""What is refused, what is broken off: the client is told, and nothing is stored."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

import pytest

from tests.contract.api.servers import LIMIT, STALL_SECONDS, newest
from tests.e2e.clients import MIB, content, form, form_type, wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.server_process import ServerProcess

BYTES = content(3 * MIB)
LARGE = content(LIMIT + 1)
#: More than the buffers of both sides take.
HUGE = 24 * MIB
#: What the envelope of a form may add to its files.
FORM_OVERHEAD = 2 * MIB


def one_file(data: bytes, **more: bytes) -> bytes:
    return form(('name="a"; filename="a.bin"', data), **more)


@pytest.fixture(autouse=True)
def _nothing_is_stored(server: ServerProcess) -> Iterator[None]:
    before = newest(server)
    yield
    assert newest(server) == before


class TestDigests:
    def field(self, data: bytes, algorithm: str = "sha256") -> str:
        encoded = base64.b64encode(hashlib.new(algorithm, data).digest()).decode()
        return f"{algorithm[:3]}-{algorithm[3:]}=:{encoded}:"

    @pytest.mark.parametrize("header", ["Content-Digest", "Repr-Digest"])
    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    @pytest.mark.parametrize("as_form", [False, True])
    def test_verified(
        self, client: httpx.Client, header: str, algorithm: str, as_form: bool
    ) -> None:
        body = one_file(BYTES) if as_form else BYTES
        kind = form_type if as_form else "text/plain"
        for digested, status, code in [
            (body[:-1], 400, "digest_mismatch"),
            (body, 201, None),
        ]:
            headers = {header: self.field(digested, algorithm), "Content-Type": kind}
            response = client.post("/upload", content=body, headers=headers)
            assert (response.status_code, response.json().get("code")) == (status, code)
        client.delete(response.headers["Location"].rpartition("/")[0])

    @pytest.mark.parametrize("field", ["nonsense=", "sha-256", "sha-256=abc", "sha-256=:abc:"])
    def test_malformed(self, client: httpx.Client, field: str) -> None:
        response = client.post("/upload", content=b"x", headers={"Content-Digest": field})
        assert (response.status_code, response.json()["code"]) == (400, "bad_digest")


FIELDS = [
    ({"Expires-In": "soon"}, 400, "bad_request"),
    ({"Expires-In": "-1"}, 400, "bad_request"),
    ({"Expires-In": "0"}, 400, "bad_request"),
    ({"Expires-In": "99999999999"}, 400, "bad_request"),
    ({"Content-Encoding": "gzip"}, 415, "unsupported_encoding"),
    ({"Content-Range": "bytes 0-1/2"}, 400, "bad_request"),
]


@pytest.mark.parametrize(("fields", "status", "code"), FIELDS)
def test_fields(client: httpx.Client, fields: dict[str, str], status: int, code: str) -> None:
    response = client.put("/upload/a", content=b"ab", headers=fields)
    assert (response.status_code, response.json()["code"]) == (status, code)


class TestTooLarge:
    @pytest.mark.parametrize("size", [LIMIT + 1, 10**15])
    def test_declared(self, server: ServerProcess, size: int) -> None:
        """Refused before a byte of the body is sent."""
        with wire(server) as client:
            client.request("POST /upload", f"Content-Length: {size}")
            assert client.problem() == (413, "too_large")

    def test_declared_form(self, server: ServerProcess) -> None:
        size = LIMIT + FORM_OVERHEAD + 1
        with wire(server) as client:
            client.request("POST /upload", f"Content-Length: {size}", f"Content-Type: {form_type}")
            assert client.problem() == (413, "too_large")

    def test_undeclared_at_the_byte(self, server: ServerProcess, patience: float) -> None:
        with wire(server) as client:
            client.socket.settimeout(patience)
            client.request("POST /upload", "Transfer-Encoding: chunked")
            client.chunk(LARGE)
            assert client.problem() == (413, "too_large")

    def test_undeclared(self, server: ServerProcess) -> None:
        """Refused with the body not at its end."""
        with wire(server) as client:
            client.request("POST /upload", "Transfer-Encoding: chunked")
            client.chunk(LARGE)
            client.send(b"%x\r\n" % MIB + bytes(MIB // 2))
            assert client.problem() == (413, "too_large")

    def test_form(self, server: ServerProcess) -> None:
        with wire(server) as client:
            kind = f"Content-Type: {form_type}"
            client.request("POST /upload", "Transfer-Encoding: chunked", kind)
            client.chunk(
                form(('name="a"; filename="a"', b"good"), ('name="b"; filename="b"', LARGE))
            )
            client.chunk(b"")
            assert client.problem() == (413, "too_large")

    def test_the_limit_itself_passes(self, client: httpx.Client) -> None:
        response = client.post("/upload", content=LARGE[:-1])
        assert response.status_code == 201
        client.delete(response.headers["Location"].rpartition("/")[0])

    def test_read_by_a_client_that_first_sends_all(self, server: ServerProcess) -> None:
        with wire(server) as client:
            client.request("POST /upload", f"Content-Length: {HUGE}")
            client.send(bytes(HUGE))
            assert client.problem() == (413, "too_large")

    def test_connection_lives_on(self, server: ServerProcess) -> None:
        with wire(server) as client:
            client.request("POST /upload", f"Content-Length: {LIMIT + 1}", body=LARGE)
            assert client.problem() == (413, "too_large")
            client.request("GET /healthz")
            assert client.response("GET").status == 200

    def test_before_the_client_is_told_to_go_on(self, server: ServerProcess) -> None:
        with wire(server) as client:
            expect = "Expect: 100-continue"
            client.request("POST /upload", expect, f"Content-Length: {LIMIT + 1}")
            assert client.makefile("rb").readline().startswith(b"HTTP/1.1 413")


class TestBrokenOff:
    """Shorter than declared, without an end, or the client is gone."""

    def test_short(self, server: ServerProcess) -> None:
        with wire(server) as client:
            client.request("POST /upload", f"Content-Length: {len(BYTES)}", body=BYTES[:-1])
            client.end()
            assert client.problem() == (400, "body_too_short")

    def test_chunked_without_its_end(self, server: ServerProcess) -> None:
        with wire(server) as client:
            client.request("POST /upload", "Transfer-Encoding: chunked")
            client.chunk(BYTES)
            client.end()
            status, code = client.problem()
        assert (status, code) == (400, "body_too_short")

    @pytest.mark.parametrize("framing", ["Content-Length", "Transfer-Encoding"])
    def test_client_vanishes(self, server: ServerProcess, framing: str) -> None:
        with wire(server) as vanishing:
            if framing == "Content-Length":
                vanishing.request("POST /upload", f"Content-Length: {LIMIT}", body=BYTES)
            else:
                vanishing.request("POST /upload", "Transfer-Encoding: chunked")
                vanishing.chunk(BYTES)
            vanishing.reset()
        before = newest(server)
        for _ in range(20):
            assert newest(server) == before

    @pytest.mark.parametrize(
        "body",
        [
            one_file(BYTES, end=b""),
            one_file(BYTES, end=b"------boundary"),
            one_file(BYTES)[:-100],
            form(('name="a"; filename="a"', b"whole"), ('name="b"; filename="b"', BYTES))[:-100],
            one_file(b"x")[:-2] + b"junk",
            one_file(b"x") * 2,
            b"junk" + one_file(b"x"),
            b"",
            b"no form at all",
        ],
        ids=["no end", "half an end", "cut", "second file cut", "junk after", "two forms",
             "junk before", "empty", "no form"],
    )  # fmt: skip
    def test_form(self, client: httpx.Client, body: bytes) -> None:
        response = client.post("/upload", content=body, headers={"Content-Type": form_type})
        assert (response.status_code, response.json()["code"]) == (400, "bad_form")

    def test_form_shorter_than_declared(self, server: ServerProcess) -> None:
        body = one_file(BYTES)
        with wire(server) as client:
            kind = f"Content-Type: {form_type}"
            client.request("POST /upload", kind, f"Content-Length: {len(body)}", body=body[:-100])
            client.end()
            assert client.problem() == (400, "body_too_short")

    def test_stalled(self, server: ServerProcess, patience: float) -> None:
        with wire(server) as client:
            client.socket.settimeout(STALL_SECONDS + patience)
            client.request("POST /upload", "Content-Length: 100", body=b"x")
            assert client.problem() == (408, "client_stalled")
