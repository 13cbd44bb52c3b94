"""Files on their way in, and what is told of them."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.contract.api.servers import session
from tests.e2e.clients import MIB, content, curl, form, form_type, sha256, upload, wire

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from tests.server_process import ServerProcess

BYTES = content(3 * MIB + 5)
DISPOSITION = "Content-Disposition: attachment"


def test_raw(client: httpx.Client) -> None:
    before = datetime.now(UTC)
    headers = {"Content-Type": "application/x-own"}
    response = client.post("/upload", params={"name": "a b.bin"}, content=BYTES, headers=headers)
    [file] = response.json()["files"]
    assert (response.status_code, response.json().keys()) == (201, {"files"})
    assert response.headers["Location"] == file["url"] == f"/files/{file['id']}/a%20b.bin"
    created_at = file.pop("created_at")
    assert created_at.endswith("Z")
    assert before <= datetime.fromisoformat(created_at) <= datetime.now(UTC)
    assert re.fullmatch(r"[A-Za-z0-9_-]{22,}", file.pop("id"))
    del file["url"]
    assert file == {
        "name": "a b.bin",
        "size": len(BYTES),
        "media_type": "application/x-own",
        "sha256": sha256(BYTES),
        "expires_at": None,
    }
    assert client.get(response.headers["Location"]).content == BYTES


@pytest.mark.parametrize("size", [0, 1, 65_536, 262_144, 262_145])
def test_sizes(client: httpx.Client, size: int) -> None:
    file = upload(client, BYTES[:size])
    assert (file["size"], file["sha256"]) == (size, sha256(BYTES[:size]))
    assert client.get(file["url"]).content == BYTES[:size]


def test_chunked(server: ServerProcess) -> None:
    with wire(server) as client:
        client.request("POST /upload?name=c", "Transfer-Encoding: chunked")
        for start in range(0, len(BYTES), MIB):
            client.chunk(BYTES[start : start + MIB])
        client.chunk(b"")
        [file] = json.loads(client.response().read())["files"]
    assert (file["size"], file["sha256"]) == (len(BYTES), sha256(BYTES))


def test_100_continue(server: ServerProcess) -> None:
    with wire(server) as client:
        client.request("POST /upload", "Expect: 100-continue", "Content-Length: 2")
        assert client.makefile("rb").readline().startswith(b"HTTP/1.1 100 ")
        assert client.makefile("rb").readline() == b"\r\n"
        client.send(b"ab")
        assert client.response().status == 201


NAMED = [
    # request, further headers, name, media type
    ("POST /upload", [], "file", "application/octet-stream"),
    ("POST /upload?name=a.txt", [], "a.txt", "text/plain"),
    ("POST /upload?name=%E2%82%AC.png", [], "€.png", "image/png"),
    ("POST /upload?name=../../etc/passwd", [], "passwd", "application/octet-stream"),
    ("POST /upload?name=C%3A%5Ca%5Cb.txt", [], "b.txt", "text/plain"),
    ("POST /upload?name=a%00b%0D%0Ac.txt", [], "abc.txt", "text/plain"),
    ("POST /upload?name=a.txt", ["Content-Type: text/x-own; a=b"], "a.txt", "text/x-own; a=b"),
    (
        "POST /upload?name=a.txt",
        ["Content-Type: application/x-www-form-urlencoded"],
        "a.txt",
        "text/plain",
    ),
    ("POST /upload", [f'{DISPOSITION}; filename="d.pdf"'], "d.pdf", "application/pdf"),
    (
        "POST /upload",
        [f"{DISPOSITION}; filename=\"x\"; filename*=UTF-8''%e2%82%ac.txt"],
        "€.txt",
        "text/plain",
    ),
    ("POST /upload?name=q.png", [f'{DISPOSITION}; filename="d.pdf"'], "q.png", "image/png"),
    ("PUT /upload/a.png", [], "a.png", "image/png"),
    ("PUT /upload/", [], "file", "application/octet-stream"),
    ("PUT /upload/a/b/c.tar.gz", [], "c.tar.gz", "application/gzip"),
    ("PUT /upload/a%0Ab%0D.txt%0A", [], "ab.txt", "text/plain"),
    ("PUT /upload//a.txt", [], "a.txt", "text/plain"),
    ("PUT /upload/%2Fa.txt", [], "a.txt", "text/plain"),
    ("PUT /upload//", [], "file", "application/octet-stream"),
]


@pytest.mark.parametrize(("line", "headers", "name", "media_type"), NAMED)
def test_name_and_media_type(
    server: ServerProcess, line: str, headers: list[str], name: str, media_type: str
) -> None:
    with wire(server) as client:
        client.request(line, *headers, "Content-Length: 2", body=b"ab")
        [file] = json.loads(client.response().read())["files"]
    assert (file["name"], file["media_type"]) == (name, media_type)


class TestCharset:
    """Text of which nobody has stated the type, and that browsers show."""

    UTF_8 = "text/plain; charset=utf-8"
    #: The first piece that is looked at ends within a character.
    CUT = b"a" + "é".encode() * 40_000

    @pytest.mark.parametrize(
        ("data", "kind"),
        [
            ("Grüße — 文件 🦆".encode(), UTF_8),
            (CUT, UTF_8),
            ("Grüße".encode("latin-1"), "text/plain"),
            ("Grüße".encode("utf-16"), "text/plain"),
            (b"ASCII", "text/plain"),
            (b"", "text/plain"),
        ],
        ids=["UTF-8", "UTF-8, cut", "Latin-1", "UTF-16", "ASCII", "empty"],
    )
    def test_however_it_comes(self, client: httpx.Client, data: bytes, kind: str) -> None:
        body = form(('name="a"; filename="a.txt"', data))
        for response in (
            client.post("/upload", params={"name": "a.txt"}, content=data),
            client.put("/upload/a.txt", content=data),
            client.post("/upload", content=body, headers={"Content-Type": form_type}),
        ):
            [file] = response.json()["files"]
            assert file["media_type"] == kind
            shown = client.get(file["url"], params={"inline": "1"})
            assert (shown.headers["Content-Type"], shown.content == data) == (kind, True)

    def test_in_single_bytes(self, server: ServerProcess) -> None:
        with wire(server) as client:
            client.request("PUT /upload/a.txt", "Transfer-Encoding: chunked")
            for byte in "aé🦆".encode():
                client.chunk(bytes([byte]))
            client.chunk(b"")
            [file] = json.loads(client.response().read())["files"]
        assert file["media_type"] == self.UTF_8

    @pytest.mark.parametrize("stated", ["text/plain", "text/plain;charset=Latin-1", "TEXT/Plain"])
    def test_a_client_s_own_type_stays(self, client: httpx.Client, stated: str) -> None:
        data = "Grüße".encode()
        part = f'name="a"; filename="a.txt"\r\nContent-Type: {stated}'
        for response in (
            client.put("/upload/a.txt", content=data, headers={"Content-Type": stated}),
            client.post("/upload", content=form((part, data)), headers={"Content-Type": form_type}),
        ):
            [file] = response.json()["files"]
            assert file["media_type"] == stated
            assert client.get(file["url"]).headers["Content-Type"] == stated


def test_curl(server: ServerProcess, tmp_path: Path) -> None:
    path = tmp_path / "big.iso"
    path.write_bytes(BYTES)
    for arguments in (
        ["-T", path, f"{server.base_url}/upload/"],
        ["--data-binary", f"@{path}", f"{server.base_url}/upload?name=big.iso"],
        ["-F", f"f=@{path}", f"{server.base_url}/upload"],
        ["-T", "-", f"{server.base_url}/upload/big.iso"],
    ):
        [file] = json.loads(curl(*arguments, stdin=path))["files"]
        assert (file["name"], file["sha256"]) == ("big.iso", sha256(BYTES))


def test_same_name_at_once(server: ServerProcess) -> None:
    """A name is no key that two users could race for."""

    def send(seed: int) -> tuple[dict[str, Any], bytes]:
        with session(server) as client:
            data = content(MIB, seed)
            return upload(client, data, "same.bin"), data

    with ThreadPoolExecutor(6) as pool:
        stored = list(pool.map(send, range(12)))
    assert len({file["id"] for file, _ in stored}) == len(stored)
    with session(server) as client:
        for file, data in stored:
            assert file["name"] == "same.bin"
            assert client.get(file["url"]).content == data


def test_many_at_once(server: ServerProcess) -> None:
    def send(seed: int) -> bool:
        with session(server) as client:
            data = content(50_000, seed)
            return client.get(upload(client, data)["url"]).content == data

    with ThreadPoolExecutor(20) as pool:
        assert all(pool.map(send, range(50)))


class TestForms:
    def post(self, client: httpx.Client, *parts: tuple[str, bytes]) -> httpx.Response:
        headers = {"Content-Type": form_type}
        return client.post("/upload", content=form(*parts), headers=headers)

    def test_fields_around_files(self, client: httpx.Client) -> None:
        response = self.post(
            client,
            ('name="before"', "für".encode()),
            ('name="f"; filename="a.txt"\r\nContent-Type: text/html', b"1"),
            ('name="empty"', b""),
            ('name="f"; filename*=UTF-8\'\'%f0%9f%a6%86.txt; filename="duck"', BYTES),
            ('name="before"', b"again"),
        )
        answer = response.json()
        assert response.status_code == 201
        assert answer["fields"] == {"before": ["für", "again"], "empty": [""]}
        named = [(file["name"], file["media_type"], file["size"]) for file in answer["files"]]
        assert named == [("a.txt", "text/html", 1), ("🦆.txt", "text/plain", len(BYTES))]
        assert response.headers["Location"] == answer["files"][0]["url"]
        assert client.get(answer["files"][1]["url"]).content == BYTES

    @pytest.mark.parametrize(("count", "size"), [(1, 900_000), (900, 1000)])
    def test_large_fields(self, client: httpx.Client, count: int, size: int) -> None:
        parts = [('name="a"', b"x" * size)] * count
        response = self.post(client, *parts, ('name="f"; filename="f"', b""))
        assert response.json()["fields"] == {"a": ["x" * size] * count}

    @pytest.mark.parametrize(("count", "size"), [(1, MIB), (17, MIB // 16)])
    def test_too_large_fields(self, client: httpx.Client, count: int, size: int) -> None:
        parts = [('name="a"', b"x" * size)] * count
        response = self.post(client, *parts, ('name="f"; filename="f"', b""))
        assert (response.status_code, response.json()["code"]) == (413, "form_too_complex")

    def test_of_httpx(self, client: httpx.Client) -> None:
        response = client.post("/upload", files={"f": ("a.bin", BYTES)}, data={"k": ["1", "2"]})
        answer = response.json()
        assert answer["fields"] == {"k": ["1", "2"]}
        assert answer["files"][0]["sha256"] == sha256(BYTES)

    def test_file_input_left_empty(self, client: httpx.Client) -> None:
        parts = [('name="a"; filename=""', b""), ('name="b"; filename="b"', b"")]
        assert [file["name"] for file in self.post(client, *parts).json()["files"]] == ["b"]

    @pytest.mark.parametrize("parts", [[], [('name="a"', b"x")], [('name="a"; filename=""', b"")]])
    def test_no_file(self, client: httpx.Client, parts: list[tuple[str, bytes]]) -> None:
        response = self.post(client, *parts)
        assert (response.status_code, response.json()["code"]) == (400, "bad_form")

    def test_200_files(self, client: httpx.Client) -> None:
        parts = [(f'name="f"; filename="{n}"', b"%d" % n) for n in range(200)]
        files = self.post(client, *parts).json()["files"]
        assert [file["name"] for file in files] == [str(n) for n in range(200)]
        for number in (0, 100, 199):
            assert client.get(files[number]["url"]).content == b"%d" % number


class TestLifetime:
    def test_told(self, client: httpx.Client) -> None:
        file = upload(client, b"x", Expires_In="3600")
        created, expires = (
            datetime.fromisoformat(file[key]) for key in ("created_at", "expires_at")
        )
        assert expires - created == timedelta(hours=1)
        assert client.get(file["url"]).content == b"x"

    def test_over(self, client: httpx.Client) -> None:
        file = upload(client, b"x", Expires_In="1")
        while datetime.now(UTC) < datetime.fromisoformat(file["expires_at"]):
            pass
        for path in (file["url"], f"/files/{file['id']}", f"/files/{file['id']}/info"):
            response = client.get(path)
            assert (response.status_code, response.json()["code"]) == (404, "not_found")
        listed = client.get("/files", params={"limit": 1000}).json()["files"]
        assert file["id"] not in {each["id"] for each in listed}
