"""Files on their way in, from real clients, and out again byte for byte."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.e2e.clients import MIB, content, curl, form, form_type, session, sha256, upload, wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.server_process import ServerProcess

#: Around what is sent, gathered, hashed and written at once.
SIZES = [0, 1, 65_535, 65_536, 65_537, MIB - 1, MIB, MIB + 1, 5 * MIB + 3]

FILE_KEYS = ["id", "name", "size", "media_type", "sha256", "created_at", "expires_at", "url"]


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big.iso"
    path.write_bytes(content(48 * MIB))
    return path


def fetched(server: ServerProcess, file: dict[str, Any]) -> str:
    """The digest of what curl downloads."""
    return sha256(curl(server.base_url + file["url"]))


def files_of(answer: bytes) -> list[dict[str, Any]]:
    files: list[dict[str, Any]] = json.loads(answer)["files"]
    return files


class TestCurl:
    def test_put(self, server: ServerProcess, big: Path) -> None:
        [file] = files_of(curl("-T", big, f"{server.base_url}/upload/"))
        assert (file["name"], file["size"]) == ("big.iso", 48 * MIB)
        assert fetched(server, file) == file["sha256"] == sha256(big.read_bytes())

    def test_put_of_a_stream(self, server: ServerProcess, big: Path) -> None:
        """From standard input, so that no length is declared."""
        [file] = files_of(curl("-T", "-", f"{server.base_url}/upload/x.bin", stdin=big))
        assert fetched(server, file) == sha256(big.read_bytes())

    def test_form_of_two_files(self, server: ServerProcess, big: Path, tmp_path: Path) -> None:
        small = tmp_path / "small.txt"
        small.write_text("grüße\n")
        url = f"{server.base_url}/upload"
        answer = curl("-F", f"a=@{big}", "-F", f"b=@{small}", "-F", "note=hi", "-F", "note=ho", url)
        files = files_of(answer)
        assert [file["name"] for file in files] == ["big.iso", "small.txt"]
        for file, path in zip(files, (big, small), strict=True):
            assert fetched(server, file) == sha256(path.read_bytes())
        assert json.loads(answer)["fields"] == {"note": ["hi", "ho"]}

    def test_data_binary(self, server: ServerProcess, big: Path) -> None:
        url = f"{server.base_url}/upload?name=big.iso"
        [file] = files_of(curl("--data-binary", f"@{big}", url))
        assert (file["name"], file["media_type"]) == ("big.iso", "application/octet-stream")

    def test_resumed_download(self, server: ServerProcess, big: Path, tmp_path: Path) -> None:
        [file] = files_of(curl("-T", big, f"{server.base_url}/upload/"))
        partial = tmp_path / "partial"
        partial.write_bytes(big.read_bytes()[: 20 * MIB + 1])
        curl("-C", "-", "-o", partial, server.base_url + file["url"])
        assert sha256(partial.read_bytes()) == sha256(big.read_bytes())

    def test_http_1_0(self, server: ServerProcess, big: Path) -> None:
        [file] = files_of(curl("-0", "-T", big, f"{server.base_url}/upload/"))
        assert sha256(curl("-0", server.base_url + file["url"])) == sha256(big.read_bytes())


@pytest.mark.asyncio(loop_scope="function")
async def test_httpx_streaming_both_ways(server: ServerProcess, big: Path) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        with big.open("rb") as file:
            while data := file.read(100_000):
                yield data

    digest = hashlib.sha256()
    async with httpx.AsyncClient(base_url=server.base_url, timeout=60) as client:
        response = await client.post("/upload?name=big.iso", content=chunks())
        [file] = response.json()["files"]
        async with client.stream("GET", file["url"]) as download:
            async for data in download.aiter_raw():
                digest.update(data)
    assert digest.hexdigest() == file["sha256"] == sha256(big.read_bytes())


@pytest.mark.parametrize("size", SIZES)
class TestSizes:
    """Around every boundary within, each way in gives the same bytes out."""

    def test_raw(self, client: httpx.Client, size: int) -> None:
        data = content(size, seed=size)
        file = upload(client, data)
        assert (file["size"], file["sha256"]) == (size, sha256(data))
        assert client.get(file["url"]).content == data

    def test_form(self, client: httpx.Client, size: int) -> None:
        data = content(size, seed=size)
        parts = [('name="a"; filename="a"', data), ('name="b"; filename="b"', data[::-1])]
        response = client.post("/upload", content=form(*parts), headers={"Content-Type": form_type})
        assert response.status_code == 201
        for file, expected in zip(response.json()["files"], (data, data[::-1]), strict=True):
            assert client.get(file["url"]).content == expected


class TestAnswer:
    def test_file(self, client: httpx.Client) -> None:
        before = datetime.now(UTC)
        response = client.post("/upload", params={"name": "a b.txt"}, content=b"hello")
        assert response.status_code == 201
        [file] = response.json()["files"]
        assert list(file) == FILE_KEYS
        assert (file["name"], file["size"], file["media_type"]) == ("a b.txt", 5, "text/plain")
        assert file["sha256"] == sha256(b"hello")
        assert file["url"] == response.headers["Location"] == f"/files/{file['id']}/a%20b.txt"
        assert file["expires_at"] is None
        assert re.fullmatch(r"[A-Za-z0-9_-]{22,}", file["id"])
        assert file["created_at"].endswith("Z")
        created = datetime.fromisoformat(file["created_at"])
        assert before <= created <= datetime.now(UTC)

    def test_ids_differ_for_the_same_file(self, client: httpx.Client) -> None:
        assert len({upload(client, b"same")["id"] for _ in range(50)}) == 50


DISPOSITION = "Content-Disposition: attachment"

NAMED = [
    # request line, headers, name, media type
    ("POST /upload", [], "file", "application/octet-stream"),
    ("POST /upload?name=", [], "file", "application/octet-stream"),
    ("POST /upload?name=a.csv", [], "a.csv", "text/csv"),
    ("POST /upload?name=a.csv&name=b", [], "a.csv", "text/csv"),
    ("PUT /upload/a.png", [], "a.png", "image/png"),
    ("PUT /upload/", [], "file", "application/octet-stream"),
    ("PUT /upload", [], "file", "application/octet-stream"),
    ("PUT /upload/a/b/c.tar.gz", [], "c.tar.gz", "application/gzip"),
    ("PUT /upload/a.png", ["Content-Type: text/x-own; a=b"], "a.png", "text/x-own; a=b"),
    ("PUT /upload/a.png", ["Content-Type: nonsense"], "a.png", "image/png"),
    ("POST /upload", [f'{DISPOSITION}; filename="d.pdf"'], "d.pdf", "application/pdf"),
    (
        "POST /upload",
        [f"{DISPOSITION}; filename=\"x\"; filename*=UTF-8''%e2%82%ac.txt"],
        "€.txt",
        "text/plain",
    ),
    ("POST /upload?name=q.png", [f'{DISPOSITION}; filename="d.pdf"'], "q.png", "image/png"),
]


@pytest.mark.parametrize(("line", "headers", "name", "media_type"), NAMED)
def test_name_and_media_type(
    server: ServerProcess, line: str, headers: list[str], name: str, media_type: str
) -> None:
    with wire(server) as client:
        client.request(line, *headers, "Content-Length: 2", body=b"ab")
        [file] = json.loads(client.response().read())["files"]
    assert (file["name"], file["media_type"]) == (name, media_type)


class TestForms:
    def post(self, client: httpx.Client, *parts: tuple[str, bytes]) -> Any:
        headers = {"Content-Type": form_type}
        return client.post("/upload", content=form(*parts), headers=headers).json()

    def test_fields_around_files(self, client: httpx.Client) -> None:
        answer = self.post(
            client,
            ('name="before"', "für".encode()),
            ('name="f"; filename="a.txt"\r\nContent-Type: text/html', b"1"),
            ('name="empty"', b""),
            ('name="f"; filename*=UTF-8\'\'%f0%9f%a6%86.txt; filename="duck"', b"2"),
            ('name="before"', b"again"),
        )
        assert answer["fields"] == {"before": ["für", "again"], "empty": [""]}
        named = [(file["name"], file["media_type"], file["size"]) for file in answer["files"]]
        assert named == [("a.txt", "text/html", 1), ("🦆.txt", "text/plain", 1)]

    def test_file_input_left_empty(self, client: httpx.Client) -> None:
        parts = [('name="a"; filename=""', b""), ('name="b"; filename="b"', b"")]
        assert [file["name"] for file in self.post(client, *parts)["files"]] == ["b"]

    @pytest.mark.parametrize("parts", [[], [('name="a"', b"x")], [('name="a"; filename=""', b"")]])
    def test_no_file(self, client: httpx.Client, parts: list[tuple[str, bytes]]) -> None:
        assert self.post(client, *parts)["code"] == "bad_form"

    def test_999_files(self, client: httpx.Client) -> None:
        parts = [(f'name="f"; filename="{n}"', b"%d" % n) for n in range(999)]
        files = self.post(client, *parts)["files"]
        assert [file["name"] for file in files] == [str(n) for n in range(999)]
        for number in (0, 500, 998):
            assert client.get(files[number]["url"]).content == b"%d" % number


class TestConcurrent:
    def test_same_name(self, server: ServerProcess) -> None:
        def send(seed: int) -> tuple[dict[str, Any], bytes]:
            with session(server) as client:
                data = content(2 * MIB, seed)
                return upload(client, data, "same.bin"), data

        with ThreadPoolExecutor(12) as pool:
            stored = list(pool.map(send, range(24)))
        assert len({file["id"] for file, _ in stored}) == 24
        with session(server) as client:
            for file, data in stored:
                assert file["name"] == "same.bin"
                assert client.get(file["url"]).content == data

    def test_hundreds_at_once(self, server: ServerProcess) -> None:
        async def send(client: httpx.AsyncClient, seed: int) -> bool:
            data = content(50_000, seed)
            [file] = (await client.post("/upload", content=data)).json()["files"]
            return (await client.get(file["url"])).content == data

        async def send_all() -> list[bool]:
            limits = httpx.Limits(max_connections=100)
            async with httpx.AsyncClient(base_url=server.base_url, limits=limits, timeout=60) as c:
                return await asyncio.gather(*(send(c, seed) for seed in range(100)))

        assert all(asyncio.run(send_all()))


class TestDigests:
    DATA = content(3 * MIB)

    def field(self, data: bytes, algorithm: str = "sha256") -> str:
        encoded = base64.b64encode(hashlib.new(algorithm, data).digest()).decode()
        return f"{algorithm[:3]}-{algorithm[3:]}=:{encoded}:"

    @pytest.mark.parametrize("header", ["Content-Digest", "Repr-Digest"])
    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    @pytest.mark.parametrize("as_form", [False, True])
    @pytest.mark.parametrize("right", [True, False])
    def test_verified(
        self,
        client: httpx.Client,
        server: ServerProcess,
        header: str,
        algorithm: str,
        as_form: bool,
        right: bool,
    ) -> None:
        """Of a form, the digest is that of the whole body."""
        before = server.rows().keys()
        body = form(('name="a"; filename="a"', self.DATA)) if as_form else self.DATA
        field = self.field(body if right else body[:-1], algorithm)
        kind = form_type if as_form else "text/plain"
        headers = {header: field, "Content-Type": kind}
        response = client.post("/upload", content=body, headers=headers)
        if right:
            assert response.status_code == 201
        else:
            assert (response.status_code, response.json()["code"]) == (400, "digest_mismatch")
            assert server.rows().keys() == before

    @pytest.mark.parametrize(
        "field",
        [
            "nonsense=",
            "sha-256",
            "sha-256=abc",
            "sha-256=:abc:",
            "sha-256=:!!!!:",
            "sha-512=:AAAA:",
        ],
    )
    def test_malformed(self, client: httpx.Client, field: str) -> None:
        response = client.post("/upload", content=b"x", headers={"Content-Digest": field})
        assert (response.status_code, response.json()["code"]) == (400, "bad_digest")

    def test_contradiction(self, client: httpx.Client) -> None:
        headers = {"Content-Digest": self.field(b"a"), "Repr-Digest": self.field(b"b")}
        response = client.post("/upload", content=b"a", headers=headers)
        assert (response.status_code, response.json()["code"]) == (400, "bad_digest")

    @pytest.mark.parametrize("field", ["", "md5=:AAAA:", "unixsum=:AAAA:, crc32c=:AAAA:"])
    def test_other_algorithms_are_ignored(self, client: httpx.Client, field: str) -> None:
        response = client.post("/upload", content=b"a", headers={"Repr-Digest": field})
        assert response.status_code == 201


REFUSED = [
    (["Expires-In: soon"], 400, "bad_request"),
    (["Expires-In: -1"], 400, "bad_request"),
    (["Expires-In: 0"], 400, "bad_request"),
    (["Expires-In: 1.5"], 400, "bad_request"),
    ([f"Expires-In: {10**30}"], 400, "bad_request"),
    (["Expires-In: 99999999999"], 400, "bad_request"),
    (["Content-Encoding: gzip"], 415, "unsupported_encoding"),
    (["Content-Range: bytes 0-1/2"], 400, "bad_request"),
]


@pytest.mark.parametrize(("headers", "status", "code"), REFUSED)
@pytest.mark.parametrize("line", ["PUT /upload/a", "POST /upload"])
@pytest.mark.parametrize("kind", [form_type, "text/plain"])
def test_refused_headers(
    server: ServerProcess, line: str, kind: str, headers: list[str], status: int, code: str
) -> None:
    before, body = server.rows().keys(), form(('name="a"; filename="a"', b"a"))
    with wire(server) as client:
        size, type_ = f"Content-Length: {len(body)}", f"Content-Type: {kind}"
        client.request(line, *headers, size, type_, body=body)
        assert client.problem() == (status, code)
    assert server.rows().keys() == before


def test_lifetime(client: httpx.Client) -> None:
    file = upload(client, b"x", Expires_In="3600")
    times = [datetime.fromisoformat(file[key]) for key in ("created_at", "expires_at")]
    assert times[1] - times[0] == timedelta(hours=1)
