"""Bodies given back or described, by way of memory, text, files and maps; nothing of them stays."""

from __future__ import annotations

from contextlib import ExitStack
from http.client import IncompleteRead
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.clients import (
    MIB,
    content,
    curl,
    form,
    form_type,
    session,
    sha256,
    wire,
)
from tests.e2e.mounts import on_tmpfs
from tests.server_process import SERVE, ServerProcess
from tests.waiting import comes_to_nothing, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import httpx

    from tests.conftest import Servers

    Start = Callable[..., ServerProcess]

VIAS = ["bytesio", "stringio", "tempfile", "mmap"]

each_via = pytest.mark.parametrize("via", VIAS)

SPOOL_SIZE = 100_000
STALL_SECONDS = 1

#: Larger than what kernels and the service may hold of a transfer.
TEXT = content(16 * MIB).hex().encode()
ODD_TEXT = "\ufeffa\r\nb\rc\n\x00é€😀\n\nend".encode()

WINDOW = 64 * 1024


@pytest.fixture
def server(shared_server: Servers) -> Iterator[ServerProcess]:
    """A server of little patience that must hold nothing more afterwards."""
    server = shared_server(stall_timeout=STALL_SECONDS, spool_size=SPOOL_SIZE)
    before = everything(server)
    yield server
    server.assert_settled()
    assert everything(server) == before


def everything(server: ServerProcess) -> set[str]:
    """All names in the directories that it writes to; the database's own are all known."""
    below = {path.name for place in (server.data, server.scratch) for path in place.rglob("*")}
    return below - {"catalog.db", "catalog.db-wal", "catalog.db-shm"}


def read(server: ServerProcess, data: bytes, via: str = "", **headers: str) -> httpx.Response:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    with session(server) as client:
        return client.post(
            "/read_data", params={"via": via} if via else {}, content=data, headers=fields
        )


def refusal(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["Content-Type"] == "application/problem+json"
    return response.status_code, response.json()["code"]


@each_via
class TestGivenBack:
    @pytest.mark.parametrize("size", [0, 1, SPOOL_SIZE, SPOOL_SIZE + 1, 5 * MIB])
    def test_raw(self, server: ServerProcess, via: str, size: int) -> None:
        response = read(server, TEXT[:size], via, Content_Type="text/x-odd; charset=utf-8")
        assert (response.status_code, response.content) == (200, TEXT[:size])
        assert response.headers["Content-Type"] == "text/x-odd; charset=utf-8"
        assert response.headers["Content-Length"] == str(size)
        assert response.headers["Content-Security-Policy"] == "sandbox"
        assert response.headers["X-Content-Type-Options"] == "nosniff"

    def test_odd_text(self, server: ServerProcess, via: str) -> None:
        for data in (ODD_TEXT, ODD_TEXT * 5000):
            assert read(server, data, via).content == data

    def test_binary(self, server: ServerProcess, via: str) -> None:
        for data in (content(1000), content(MIB)):
            response = read(server, data, via)
            if via == "stringio":
                assert refusal(response) == (415, "not_text")
            else:
                assert response.content == data
                assert response.headers["Content-Type"] == "application/octet-stream"

    def test_form(self, server: ServerProcess, via: str) -> None:
        files: dict[str, Any] = {"a": ("a.txt", ODD_TEXT, "text/x-odd"), "left empty": ("", b"")}
        with session(server) as client:
            url = f"/read_data?via={via}"
            response = client.post(url, data={"x": "y"}, files=files)
            assert response.content == ODD_TEXT
            assert response.headers["Content-Type"] == "text/x-odd"
            guessed = client.post(url, files={"a": ("a.csv", b"1,2")})
            assert guessed.headers["Content-Type"] == "text/csv"

    def test_curl(self, server: ServerProcess, via: str, tmp_path: Path) -> None:
        path = tmp_path / "large"
        path.write_bytes(TEXT)
        url = f"{server.base_url}/read_data?via={via}"
        assert curl("--data-binary", f"@{path}", url) == TEXT
        assert curl("-F", f"a=@{path}", url) == TEXT


class TestDescribed:
    @each_via
    @pytest.mark.parametrize("times", [1, 10_000])
    def test_text(self, server: ServerProcess, via: str, times: int) -> None:
        data = ODD_TEXT * times
        response = read(server, data, via, Content_Type="text/x-odd", Accept="application/json")
        assert list(response.json().items()) == [
            ("via", via),
            ("size", len(data)),
            ("sha256", sha256(data)),
            ("media_type", "text/x-odd"),
            ("lines", data.count(b"\n") + 1),
        ]

    @pytest.mark.parametrize("via", ["", "bytesio", "tempfile", "mmap"])
    def test_binary(self, server: ServerProcess, via: str) -> None:
        data = content(3 * MIB)
        found = read(server, data, via, Accept="application/json").json()
        assert found == {"via": via or "bytesio", "size": len(data), "sha256": sha256(data),
                         "media_type": "application/octet-stream", "lines": None}  # fmt: skip

    def test_form(self, server: ServerProcess) -> None:
        with session(server) as client:
            accept = {"Accept": "application/json, text/plain, */*"}  # as many libraries say it
            url = "/read_data?via=mmap"
            found = client.post(url, files={"a": ("a.csv", b"1\n2")}, headers=accept).json()
        assert (found["size"], found["media_type"], found["lines"]) == (3, "text/csv", 2)

    def test_not_text(self, server: ServerProcess) -> None:
        response = read(server, b"a\xff", "stringio", Accept="application/json")
        assert refusal(response) == (415, "not_text")


class TestRefused:
    @pytest.mark.parametrize(
        ("headers", "expected"),
        [
            ({"Content_Encoding": "gzip"}, (415, "unsupported_encoding")),
            ({"Content_Digest": f"sha-256=:{'A' * 43}=:"}, (400, "digest_mismatch")),
            ({"Content_Digest": "sha-256=1"}, (400, "bad_digest")),
        ],
    )
    def test_headers(
        self, server: ServerProcess, headers: dict[str, str], expected: tuple[int, str]
    ) -> None:
        assert refusal(read(server, b"a", **headers)) == expected

    def test_unknown_way(self, server: ServerProcess) -> None:
        assert refusal(read(server, b"a", "paper")) == (400, "bad_request")

    @pytest.mark.parametrize(
        "parts",
        [
            [],
            [('name="a"', b"1")],
            [('name="a"; filename=""', b"")],
            [('name="a"; filename="a"', b"1"), ('name="b"; filename="b"', b"")],
        ],
    )
    def test_forms_without_one_file(self, server: ServerProcess, parts: list[Any]) -> None:
        response = read(server, form(*parts), Content_Type=form_type)
        assert refusal(response) == (400, "bad_form")

    @each_via
    @pytest.mark.parametrize("size", [1000, 3 * MIB])
    def test_form_that_is_cut(self, server: ServerProcess, via: str, size: int) -> None:
        body = form(('name="a"; filename="a"', TEXT[:size]), end=b"")
        response = read(server, body, via, Content_Type=form_type)
        assert refusal(response) == (400, "bad_form")

    def test_file_of_a_form_is_too_large(self, shared_server: Servers) -> None:
        """By itself, not with what the form may hold beside it."""
        server = shared_server(max_upload_size="4MiB")
        with session(server) as client:
            for size, status in ((4 * MIB, 200), (4 * MIB + 1, 413)):
                answer = client.post("/read_data", files={"a": ("a", bytes(size))})
                assert answer.status_code == status
            assert answer.json()["detail"] == "The limit is 4194304 bytes."

    def test_too_large(self, shared_server: Servers) -> None:
        server = shared_server(max_upload_size="4MiB")
        for via in VIAS:
            assert refusal(read(server, TEXT, via)) == (413, "too_large")
            with wire(server) as client:
                client.request(f"POST /read_data?via={via}", "Transfer-Encoding: chunked")
                client.chunk(TEXT)
                assert client.problem() == (413, "too_large")
        assert everything(server) & {"a", "b"} == set()


@each_via
class TestTrouble:
    @pytest.mark.parametrize("size", [0, 1, 3 * MIB])
    @pytest.mark.parametrize("as_json", [False, True])
    def test_sender_is_gone(
        self, server: ServerProcess, via: str, size: int, as_json: bool
    ) -> None:
        with wire(server) as client:
            accept = "Accept: application/json" if as_json else "Accept: */*"
            length = f"Content-Length: {len(TEXT)}"
            client.request(f"POST /read_data?via={via}", accept, length, body=TEXT[:size])
            eventually(server.handling, what="the body is read")
            client.reset()

    @pytest.mark.parametrize("size", [0, 3 * MIB])
    def test_sender_stalls(self, server: ServerProcess, via: str, size: int) -> None:
        with wire(server) as client:
            length = f"Content-Length: {len(TEXT)}"
            client.request(f"POST /read_data?via={via}", length, body=TEXT[:size])
            assert client.problem() == (408, "client_stalled")

    @pytest.mark.parametrize("size", [0, 3 * MIB])
    def test_body_that_is_shorter(self, server: ServerProcess, via: str, size: int) -> None:
        with wire(server) as client:
            length = f"Content-Length: {len(TEXT)}"
            client.request(f"POST /read_data?via={via}", length, body=TEXT[:size])
            eventually(server.handling, what="the body is read")
            client.end()
            assert client.problem() == (400, "body_too_short")

    @pytest.mark.parametrize("reads", [0, MIB])
    def test_reader_is_gone(self, server: ServerProcess, via: str, reads: int) -> None:
        with wire(server, WINDOW) as client:
            length = f"Content-Length: {len(TEXT)}"
            client.request(f"POST /read_data?via={via}", length, body=TEXT)
            client.response().read(reads)
            assert spooled(server)
            client.reset()
        comes_to_nothing(lambda: spooled(server), seconds=10)

    def test_reader_stops(self, server: ServerProcess, via: str) -> None:
        with wire(server, WINDOW) as client:
            length = f"Content-Length: {len(TEXT)}"
            client.request(f"POST /read_data?via={via}", length, body=TEXT)
            response = client.response()
            comes_to_nothing(lambda: spooled(server))
            with pytest.raises((IncompleteRead, ConnectionResetError)):
                response.read()


def spooled(server: ServerProcess) -> list[str]:
    return [link for link in server.descriptors() if "(deleted)" in link]


DISK_MIB = 24


class TestSmallDisk:
    @pytest.fixture
    def small(self, start: Start, tmp_path: Path) -> ServerProcess:
        return start(wrapper=on_tmpfs(tmp_path / "data", DISK_MIB),
                     settings={"data": tmp_path / "data"})  # fmt: skip

    def test_bodies_that_do_not_fit(self, small: ServerProcess) -> None:
        for via in VIAS:
            assert refusal(read(small, TEXT, via)) == (507, "no_space")
            with wire(small) as client:
                client.request(f"POST /read_data?via={via}", "Transfer-Encoding: chunked")
                client.chunk(TEXT)
                assert client.problem() == (507, "no_space")
            comes_to_nothing(lambda: spooled(small))
            assert read(small, TEXT[: 8 * MIB], via).content == TEXT[: 8 * MIB]


def test_killed_while_it_keeps_bodies(start: Start) -> None:
    server = start(command=SERVE)
    before = everything(server)
    with ExitStack() as stack:
        for via in VIAS:
            client = stack.enter_context(wire(server))
            length = f"Content-Length: {len(TEXT)}"
            client.request(f"POST /read_data?via={via}", length, body=TEXT[: 8 * MIB])
        eventually(lambda: len(spooled(server)) == len(VIAS), what="all are kept")
        server.kill()
    assert everything(server) == before


SMALL_MIB, LARGE_MIB = 64, 320
MOST_GROWTH = 24 * MIB


@each_via
def test_memory_is_flat(start: Start, via: str) -> None:
    server = start(command=SERVE)
    block = TEXT[:MIB]
    peaks = []
    for count in (SMALL_MIB, LARGE_MIB):
        with wire(server) as client:
            client.request(f"POST /read_data?via={via}", f"Content-Length: {count * MIB}")
            for _ in range(count):
                client.send(block)
            response = client.response()
            assert all(response.read(MIB) == block for _ in range(count))
            assert response.read() == b""
        peaks.append(server.memory("VmHWM"))
    assert peaks[1] - peaks[0] < MOST_GROWTH, [f"{peak / MIB:.0f} MiB" for peak in peaks]
