"""Files on their way out: ranges, conditions, headers, many connections."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from email.parser import BytesParser
from email.policy import HTTP
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.clients import MIB, aria2c, content, form, form_type, session, sha256, upload, wire
from tests.waiting import comes_to_nothing

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from tests.conftest import Servers
    from tests.server_process import ServerProcess

SIZE = 5 * MIB + 7
BYTES = content(SIZE)


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    """A file that the tests of this module only read, and in `at` which server has it."""
    return {}


@pytest.fixture
def file(client: httpx.Client, server: ServerProcess, stored: dict[str, Any]) -> dict[str, Any]:
    if stored.get("at") != server.base_url:
        stored.update(upload(client, BYTES, "a.bin"), at=server.base_url)
    return stored


@pytest.fixture
def url(file: dict[str, Any]) -> str:
    return str(file["url"])


RANGES = [
    # Range, first, stop: RFC 9110, 14.1.2
    ("bytes=0-0", 0, 1),
    ("bytes=0-499", 0, 500),
    ("bytes=500-999", 500, 1000),
    ("bytes=-500", SIZE - 500, SIZE),
    ("bytes=-1", SIZE - 1, SIZE),
    ("bytes=0-", 0, SIZE),
    (f"bytes=-{SIZE + 1}", 0, SIZE),
    (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
    (f"bytes={MIB - 1}-{MIB}", MIB - 1, MIB + 1),
    (f"bytes=1-{10**30}", 1, SIZE),
    ("BYTES=0-1", 0, 2),
    ("bytes= 0-1 ,", 0, 2),
    ("bytes=0-100,50-200", 0, 201),
    ("bytes=100-200,0-99", 0, 201),
]

IGNORED = ["bytes", "bytes=", "bytes=a-b", "bytes=2-1", "bytes=--1", "bytes=1-2-3", "lines=0-1",
           "bytes 0-1", "bytes=0-1;2-3", "bytes=0x0-0x1", "bytes=+1-2", "=0-1",
           # Too many, or too long.
           "bytes=" + ",".join(["0-"] * 65),
           "bytes=" + ",".join(f"{n}-{n + 100}" for n in range(500)),
           "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 514, 2)),
           "bytes=" + ",".join(["999999999-"] * 257),
           "bytes=0-1," + "9" * 9000]  # fmt: skip

UNSATISFIABLE = [
    f"bytes={SIZE}-",
    f"bytes={SIZE}-{SIZE + 1}",
    "bytes=-0",
    f"bytes={10**40}-",
]


class TestRanges:
    @pytest.mark.parametrize(("field", "first", "stop"), RANGES)
    def test_one(self, client: httpx.Client, url: str, field: str, first: int, stop: int) -> None:
        response = client.get(url, headers={"Range": field})
        assert response.status_code == 206
        assert response.headers["Content-Range"] == f"bytes {first}-{stop - 1}/{SIZE}"
        assert response.headers["Content-Length"] == str(stop - first)
        assert response.content == BYTES[first:stop]

    @pytest.mark.parametrize("field", IGNORED)
    def test_ignored(self, client: httpx.Client, url: str, field: str) -> None:
        response = client.get(url, headers={"Range": field})
        assert (response.status_code, response.content == BYTES) == (200, True)
        assert "Content-Range" not in response.headers

    @pytest.mark.parametrize("field", UNSATISFIABLE)
    def test_unsatisfiable(self, client: httpx.Client, url: str, field: str) -> None:
        response = client.get(url, headers={"Range": field})
        assert (response.status_code, response.json()["code"]) == (416, "range_not_satisfiable")
        assert response.headers["Content-Range"] == f"bytes */{SIZE}"

    @pytest.mark.parametrize(
        "ranges",
        [
            [(0, 1), (10, 20)],
            [(10, 20), (0, 1)],
            [(0, MIB + 1), (2 * MIB, SIZE)],
            [(n * 70_000, n * 70_000 + 100) for n in range(64)],
            [(n * 20_000, n * 20_000 + 100) for n in range(256)],
        ],
    )
    def test_many(self, client: httpx.Client, url: str, ranges: list[tuple[int, int]]) -> None:
        field = "bytes=" + ", ".join(f"{first}-{stop - 1}" for first, stop in ranges)
        response = client.get(url, headers={"Range": field})
        assert response.status_code == 206
        assert response.headers["Content-Length"] == str(len(response.content))
        assert "Content-Range" not in response.headers
        kind = f"Content-Type: {response.headers['Content-Type']}\r\n\r\n"
        parsed = BytesParser(policy=HTTP).parsebytes(kind.encode() + response.content)
        assert parsed.get_content_type() == "multipart/byteranges"
        for part, (first, stop) in zip(parsed.iter_parts(), ranges, strict=True):
            assert part["Content-Range"] == f"bytes {first}-{stop - 1}/{SIZE}"
            assert part["Content-Type"] == "application/octet-stream"
        # The parser takes binary for text, so the bytes are compared as they stand.
        boundary = f"--{parsed.get_boundary()}".encode()
        bodies = [part.partition(b"\r\n\r\n")[2][:-2] for part in response.content.split(boundary)]
        assert bodies[1:-1] == [BYTES[first:stop] for first, stop in ranges]

    def test_of_an_empty_file(self, client: httpx.Client) -> None:
        """As nginx, Go and Flask do: a cache that fetches in slices takes a 416 for a failure."""
        path = upload(client, b"")["url"]
        for field in ("bytes=0-", "bytes=0-0", "bytes=-5", "bytes=-0", "bytes=5-9", "bytes=0-,0-"):
            response = client.get(path, headers={"Range": field})
            assert (response.status_code, response.headers["Content-Length"]) == (200, "0")
            assert "Content-Range" not in response.headers

    def test_hostile_overlaps_cost_nothing(self, client: httpx.Client, url: str) -> None:
        """60 times the whole file is the file once."""
        field = "bytes=" + ",".join(f"{n}-" for n in range(60))
        response = client.get(url, headers={"Range": field})
        assert (response.status_code, len(response.content)) == (206, SIZE)


class TestHeaders:
    def test_of_a_file(self, client: httpx.Client, url: str, file: dict[str, Any]) -> None:
        for path in (url, f"/files/{file['id']}", f"/files/{file['id']}/other-name"):
            headers = client.get(path).headers
            assert headers["Content-Length"] == str(SIZE)
            assert headers["Content-Type"] == "application/octet-stream"
            assert headers["Accept-Ranges"] == "bytes"
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["ETag"] == f'"{file["sha256"]}"'
            assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT", headers["Last-Modified"])
            assert re.fullmatch(r"sha-256=:[\w+/]{43}=:", headers["Repr-Digest"])
            assert headers["Content-Disposition"].startswith('attachment; filename="a.bin"')

    @pytest.mark.parametrize("field", [None, "bytes=0-1", "bytes=9999999-", "bytes=0-1,5-6"])
    def test_head_is_get_without_its_body(
        self, server: ServerProcess, url: str, field: str | None
    ) -> None:
        range_ = [f"Range: {field}"] if field else []
        with wire(server) as client:
            client.request(f"HEAD {url}", *range_)
            head = client.response("HEAD")
            assert (head.status, head.read()) == (200, b"")
            client.request(f"GET {url}")
            whole = client.response("GET")
            kept = [(n, v) for n, v in whole.getheaders() if n.lower() != "date"]
            assert [(n, v) for n, v in head.getheaders() if n.lower() != "date"] == kept

    @pytest.mark.parametrize(
        ("kind", "query", "disposition"),
        [
            ("text/plain", "", "attachment"),
            ("text/plain", "?inline=1", "inline"),
            ("text/plain; charset=utf-8", "?inline=1", "inline"),
            ("image/png", "?inline=1", "inline"),
            ("image/png", "?inline=0", "attachment"),
            ("text/html", "?inline=1", "attachment"),
            ("image/svg+xml", "?inline=1", "attachment"),
            ("application/xhtml+xml", "?inline=1", "attachment"),
            ("application/javascript", "?inline=1", "attachment"),
        ],
    )
    def test_inline(self, client: httpx.Client, kind: str, query: str, disposition: str) -> None:
        file = upload(client, b"x", Content_Type=kind)
        headers = client.get(file["url"] + query).headers
        assert headers["Content-Disposition"].partition(";")[0] == disposition
        assert headers["Content-Type"] == kind
        assert headers["X-Content-Type-Options"] == "nosniff"


LONG_AGO, LATER = "Sun, 06 Nov 1994 08:49:37 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"

CONDITIONS = [
    # fields with {etag} and {date} for the file's own, status: RFC 9110, 13.2.2
    ({"If-None-Match": "{etag}"}, 304),
    ({"If-None-Match": "W/{etag}"}, 304),
    ({"If-None-Match": '"x", {etag}'}, 304),
    ({"If-None-Match": "*"}, 304),
    ({"If-None-Match": '"x"'}, 200),
    ({"If-None-Match": '"x"', "If-Modified-Since": "{date}"}, 200),
    ({"If-Modified-Since": "{date}"}, 304),
    ({"If-Modified-Since": LATER}, 304),
    ({"If-Modified-Since": LONG_AGO}, 200),
    ({"If-Modified-Since": "nonsense"}, 200),
    ({"If-Match": "{etag}"}, 200),
    ({"If-Match": "*"}, 200),
    ({"If-Match": '"x"'}, 412),
    ({"If-Match": "W/{etag}"}, 412),
    ({"If-Match": '"x"', "If-None-Match": "{etag}"}, 412),
    ({"If-Match": "{etag}", "If-Unmodified-Since": LONG_AGO}, 200),
    ({"If-Match": "{etag}", "If-None-Match": "{etag}"}, 304),
    ({"If-Unmodified-Since": LONG_AGO}, 412),
    ({"If-Unmodified-Since": "{date}"}, 200),
    ({"If-Unmodified-Since": LONG_AGO, "If-None-Match": "{etag}"}, 412),
    ({"If-Match": '"x"', "Range": "bytes=0-1"}, 412),
    ({"If-None-Match": "{etag}", "Range": "bytes=0-1"}, 304),
    ({"If-None-Match": "{etag}", "Range": "bytes=99999999-"}, 304),
    ({"Range": "bytes=0-1", "If-Range": "{etag}"}, 206),
    ({"Range": "bytes=0-1", "If-Range": "{date}"}, 206),
    ({"Range": "bytes=0-1", "If-Range": "W/{etag}"}, 200),
    ({"Range": "bytes=0-1", "If-Range": '"x"'}, 200),
    ({"Range": "bytes=0-1", "If-Range": LONG_AGO}, 200),
    ({"Range": "bytes=99999999-", "If-Range": '"x"'}, 200),
    ({"Range": "bytes=0-1,5-6", "If-Range": "{etag}"}, 206),
    ({"Range": "bytes=0-1,5-6", "If-Range": '"x"'}, 200),
    ({"Range": "bytes=0-1,5-6", "If-Range": "{date}"}, 206),
    ({"If-Range": "{etag}"}, 200),
]


@pytest.mark.parametrize(("fields", "status"), CONDITIONS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditions(
    client: httpx.Client,
    url: str,
    file: dict[str, Any],
    fields: dict[str, str],
    status: int,
    method: str,
) -> None:
    own = {"etag": f'"{file["sha256"]}"', "date": client.head(url).headers["Last-Modified"]}
    headers = {name: value.format_map(own) for name, value in fields.items()}
    response = client.request(method, url, headers=headers)
    if method == "HEAD" and status == 206:
        status = 200
    assert response.status_code == status
    if status == 304:
        assert response.content == b""
        assert response.headers["ETag"] == own["etag"]
        assert "Content-Type" not in response.headers
    if status == 412 and method == "GET":
        assert response.json()["code"] == "precondition_failed"


def test_aria2c_with_8_connections(server: ServerProcess, tmp_path: Path) -> None:
    data = content(64 * MIB)
    with session(server) as client:
        file = upload(client, data)
    options = ["-x8", "-s8", "-k1M", "--dir", tmp_path, "--out", "got", "--quiet"]
    aria2c(*options, f"--checksum=sha-256={file['sha256']}", server.base_url + file["url"])
    assert sha256((tmp_path / "got").read_bytes()) == file["sha256"]


class TestDeletion:
    def test_twice(self, client: httpx.Client, server: ServerProcess) -> None:
        file = upload(client, BYTES)
        path = f"/files/{file['id']}"
        assert client.delete(path).status_code == 204
        assert file["id"] not in server.blobs().keys() | server.rows().keys()
        for response in (client.delete(path), client.get(path), client.get(f"{path}/info")):
            assert (response.status_code, response.json()["code"]) == (404, "not_found")
        assert client.head(path).status_code == 404
        ids = [each["id"] for each in client.get("/files?limit=1000").json()["files"]]
        assert file["id"] not in ids

    def test_while_it_is_downloaded(self, server: ServerProcess) -> None:
        with session(server) as client, wire(server, 65536) as reader:
            path = upload(client, BYTES)["url"]
            reader.request(f"GET {path}")
            response = reader.response("GET")
            assert response.read(1000) == BYTES[:1000]
            assert client.delete("/".join(path.split("/")[:3])).status_code == 204
            assert client.get(path).status_code == 404
            assert response.read() == BYTES[1000:]

    def test_by_many_at_once(self, server: ServerProcess) -> None:
        with session(server) as client:
            path = f"/files/{upload(client, b'x')['id']}"
        with ExitStack() as stack:
            clients = [stack.enter_context(wire(server)) for _ in range(20)]
            for each in clients:
                each.request(f"DELETE {path}")
            said = sorted(each.response().status for each in clients)
        assert said == [204] + [404] * 19


def test_quarts_limit_on_whole_responses_is_gone(start: Any) -> None:
    """With Quart's limit at a second, a download of several is still whole."""
    server = start(variables={"TEST_FAULTS": "impatient_quart"})
    data = content(24 * MIB)
    with session(server) as client:
        path = upload(client, data)["url"]
    with wire(server, 65536) as reader:
        reader.request(f"GET {path}")
        response = reader.response("GET")
        started = time.monotonic()
        got = []
        while chunk := response.read(256 * 1024):
            got.append(chunk)
            if time.monotonic() - started < 3:
                time.sleep(0.1)
    assert b"".join(got) == data


class TestExpiry:
    def test_hides_and_then_removes(self, shared_server: Servers) -> None:
        server = shared_server(sweep_interval=0.2)
        with session(server) as client:
            file = upload(client, BYTES, Expires_In="1")
            comes_to_nothing(lambda: client.get(file["url"]).status_code == 200)
            for path in (file["url"], f"/files/{file['id']}/info"):
                assert client.get(path).json()["code"] == "not_found"
            assert client.delete(f"/files/{file['id']}").status_code == 404
            assert file["id"] not in client.get("/files?limit=1000").text
            for kind in ("text/csv", "application/x-ndjson"):
                assert file["id"] not in client.get("/files", headers={"Accept": kind}).text
            comes_to_nothing(lambda: server.rows().keys() & {file["id"]})
            comes_to_nothing(lambda: server.blobs().keys() & {file["id"]})

    def test_while_it_is_downloaded(self, shared_server: Servers) -> None:
        server = shared_server(sweep_interval=0.2)
        with session(server) as client, wire(server, 65536) as reader:
            file = upload(client, BYTES, Expires_In="1")
            reader.request(f"GET {file['url']}")
            response = reader.response("GET")
            head = response.read(1000)
            comes_to_nothing(lambda: server.blobs().keys() & {file["id"]})
            assert head + response.read() == BYTES

    def test_of_a_form(self, client: httpx.Client) -> None:
        headers = {"Content-Type": form_type, "Expires-In": "60"}
        parts = [('name="a"; filename="a"', b"1"), ('name="b"; filename="b"', b"2")]
        answer = client.post("/upload", content=form(*parts), headers=headers).json()
        assert all(file["expires_at"] for file in answer["files"])
