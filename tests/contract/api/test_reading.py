"""Bodies read without being saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract.api.servers import LIMIT, newest
from tests.e2e.clients import MIB, content, curl, form, form_type, sha256, wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

    from tests.server_process import ServerProcess

BYTES = content(3 * MIB + 5)
LINES = "für 🦆\r\nzwei\n".encode()
TEXT = LINES * 150_000

VIAS = ["bytesio", "stringio", "tempfile", "mmap"]

each_via = pytest.mark.parametrize("via", VIAS)


@pytest.fixture(autouse=True)
def _nothing_is_stored(server: ServerProcess) -> Iterator[None]:
    before = newest(server)
    yield
    assert newest(server) == before


@each_via
@pytest.mark.parametrize("data", [b"", b"x", LINES, TEXT], ids=["no", "a byte", "some", "2M"])
def test_given_back(client: httpx.Client, via: str, data: bytes) -> None:
    headers = {"Content-Type": "text/x-own; charset=utf-8"}
    response = client.post("/read_data", params={"via": via}, content=data, headers=headers)
    assert (response.status_code, response.content == data) == (200, True)
    assert response.headers["Content-Type"] == "text/x-own; charset=utf-8"


@pytest.mark.parametrize("via", sorted({*VIAS} - {"stringio"}))
def test_any_bytes(client: httpx.Client, via: str) -> None:
    assert client.post("/read_data", params={"via": via}, content=BYTES).content == BYTES


def test_bytesio_is_the_default(client: httpx.Client) -> None:
    headers = {"Accept": "application/json"}
    assert client.post("/read_data", content=b"", headers=headers).json()["via"] == "bytesio"


@each_via
@pytest.mark.parametrize(
    ("data", "lines"), [(b"", 0), (b"a", 1), (b"a\nb", 2), (b"a\nb\n", 2), (TEXT, 300_000)]
)
def test_described(client: httpx.Client, via: str, data: bytes, lines: int) -> None:
    headers = {"Accept": "application/json", "Content-Type": "text/plain"}
    response = client.post("/read_data", params={"via": via}, content=data, headers=headers)
    assert response.json() == {
        "via": via,
        "size": len(data),
        "sha256": sha256(data),
        "media_type": "text/plain",
        "lines": lines,
    }


@pytest.mark.parametrize(
    ("accept", "described"),
    [
        ("application/json", True),
        ("APPLICATION/JSON", True),
        ("application/json; charset=utf-8", True),
        ("text/plain;format=flowed, application/json;charset=UTF-8;q=0.5", True),
        ("text/html, application/json", True),
        ("application/json, text/plain, */*", True),
        ("*/*", False),
        ("application/json;q=0", False),
        ("application/json; charset=utf-8; q=0", False),
        ("*/*, application/json;q=0", False),
        ("application/json;q=0.1, */*", False),
    ],
)
def test_what_the_client_accepts(client: httpx.Client, accept: str, described: bool) -> None:
    answer = client.post("/read_data", content=b"abc", headers={"Accept": accept})
    assert (answer.content != b"abc") is described


def test_no_lines_of_what_is_no_text(client: httpx.Client) -> None:
    headers = {"Accept": "application/json"}
    described = client.post("/read_data", content=BYTES, headers=headers).json()
    assert (described["size"], described["lines"]) == (len(BYTES), None)


@each_via
def test_one_file_of_a_form(client: httpx.Client, via: str) -> None:
    body = form(
        ('name="k"', b"v"),
        ('name="f"; filename="a.txt"\r\nContent-Type: text/x-own', TEXT),
        ('name="empty"; filename=""', b""),
    )
    headers = {"Content-Type": form_type}
    response = client.post("/read_data", params={"via": via}, content=body, headers=headers)
    assert (response.status_code, response.content == TEXT) == (200, True)
    assert response.headers["Content-Type"] == "text/x-own"


FILE = ('name="f"; filename="a"', b"x")


@pytest.mark.parametrize(
    "body", [form(), form(('name="k"', b"v")), form(FILE, FILE), form(FILE, end=b"")]
)
def test_bad_form(client: httpx.Client, body: bytes) -> None:
    response = client.post("/read_data", content=body, headers={"Content-Type": form_type})
    assert (response.status_code, response.json()["code"]) == (400, "bad_form")


@pytest.mark.parametrize(
    "data", [b"\xff", TEXT[:-1] + b"\xc3", b"a\xed\xa0\x80", TEXT + b"\x80" + TEXT]
)
def test_not_text(client: httpx.Client, data: bytes) -> None:
    response = client.post("/read_data", params={"via": "stringio"}, content=data)
    assert (response.status_code, response.json()["code"]) == (415, "not_text")


def test_unknown_via(client: httpx.Client) -> None:
    response = client.post("/read_data", params={"via": "floppy"}, content=b"x")
    assert (response.status_code, response.json()["code"]) == (400, "bad_request")


@each_via
def test_too_large(server: ServerProcess, via: str) -> None:
    with wire(server) as client:
        client.request(f"POST /read_data?via={via}", f"Content-Length: {LIMIT + 1}")
        assert client.problem() == (413, "too_large")


@each_via
def test_broken_off(server: ServerProcess, via: str) -> None:
    with wire(server) as client:
        client.request(f"POST /read_data?via={via}", "Content-Length: 100", body=b"text")
        client.end()
        assert client.problem() == (400, "body_too_short")


@each_via
def test_reader_that_leaves(server: ServerProcess, client: httpx.Client, via: str) -> None:
    with wire(server, 4096) as leaving:
        head = f"Content-Length: {len(TEXT)}"
        leaving.request(f"POST /read_data?via={via}", head, body=TEXT)
        assert leaving.response().status == 200
        leaving.reset()
    assert client.get("/healthz").status_code == 200


def test_curl(server: ServerProcess, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(BYTES)
    url = f"{server.base_url}/read_data?via=mmap"
    assert curl("--data-binary", f"@{path}", url) == curl("-F", f"f=@{path}", url) == BYTES
