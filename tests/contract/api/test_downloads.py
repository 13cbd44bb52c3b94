"""Files on their way out: bytes, fields, ranges, conditions; and their end."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime, timedelta
from email.parser import BytesParser
from email.policy import HTTP
from email.utils import format_datetime, parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.contract.api.servers import session
from tests.e2e.clients import MIB, content, upload

if TYPE_CHECKING:
    import httpx

    from tests.server_process import ServerProcess

SIZE = 2 * MIB + 7
BYTES = content(SIZE)


@pytest.fixture(scope="module")
def stored(server: ServerProcess) -> dict[str, Any]:
    """A file that the tests of this module only read."""
    with session(server) as client:
        return upload(client, BYTES, "a.bin")


@pytest.fixture
def url(stored: dict[str, Any]) -> str:
    return str(stored["url"])


class TestFields:
    def test_of_a_file(self, client: httpx.Client, stored: dict[str, Any]) -> None:
        digest = base64.b64encode(hashlib.sha256(BYTES).digest()).decode()
        created = datetime.fromisoformat(stored["created_at"]).replace(microsecond=0)
        for path in (stored["url"], f"/files/{stored['id']}", f"/files/{stored['id']}/other"):
            response = client.get(path)
            assert (response.status_code, response.content == BYTES) == (200, True)
            fields = response.headers
            assert fields["Content-Length"] == str(SIZE)
            assert fields["Content-Type"] == "application/octet-stream"
            assert fields["Accept-Ranges"] == "bytes"
            assert fields["Repr-Digest"] == f"sha-256=:{digest}:"
            assert fields["X-Content-Type-Options"] == "nosniff"
            assert fields["ETag"].startswith('"')
            assert parsedate_to_datetime(fields["Last-Modified"]) == created
            assert "Content-Range" not in fields

    def test_head_says_the_same_without_bytes(self, client: httpx.Client, url: str) -> None:
        got, asked = client.get(url), client.head(url)
        assert (asked.status_code, asked.content) == (200, b"")
        apart = {"date", "connection", "server"}
        assert {k: v for k, v in got.headers.items() if k not in apart} == {
            k: v for k, v in asked.headers.items() if k not in apart
        }

    @pytest.mark.parametrize(
        ("media_type", "inline", "kind"),
        [
            ("image/png", "1", "inline"),
            ("text/plain; charset=utf-8", "1", "inline"),
            ("image/png", "0", "attachment"),
            ("text/html", "1", "attachment"),
            ("image/svg+xml", "1", "attachment"),
        ],
    )
    def test_disposition(
        self, client: httpx.Client, media_type: str, inline: str, kind: str
    ) -> None:
        file = upload(client, b"x", 'ü";.x', Content_Type=media_type)
        response = client.get(file["url"], params={"inline": inline})
        found = response.headers["Content-Disposition"]
        assert found.startswith(f"{kind}; filename=")
        assert "filename*=UTF-8''%C3%BC" in found
        assert response.headers["Content-Type"] == media_type


RANGES = [
    # Range, first, stop: RFC 9110, 14.1.2
    ("bytes=0-0", 0, 1),
    ("bytes=0-499", 0, 500),
    ("bytes=-500", SIZE - 500, SIZE),
    ("bytes=0-", 0, SIZE),
    (f"bytes=-{SIZE + 1}", 0, SIZE),
    (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
    (f"bytes={MIB - 1}-{MIB}", MIB - 1, MIB + 1),
    (f"bytes=1-{10**30}", 1, SIZE),
    ("bytes=0-100,50-200", 0, 201),
]
IGNORED = ["bytes", "bytes=", "bytes=a-b", "bytes=2-1", "lines=0-1", "bytes 0-1",
           "bytes=" + ",".join(["0-"] * 65),
           "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 514, 2))]  # fmt: skip
UNSATISFIABLE = [f"bytes={SIZE}-", "bytes=-0"]


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
            [(0, MIB + 1), (MIB + 500, SIZE)],
            [(n * 30_000, n * 30_000 + 100) for n in range(64)],
            [(n * 8_000, n * 8_000 + 100) for n in range(256)],
        ],
    )
    def test_many(self, client: httpx.Client, url: str, ranges: list[tuple[int, int]]) -> None:
        field = "bytes=" + ", ".join(f"{first}-{stop - 1}" for first, stop in ranges)
        response = client.get(url, headers={"Range": field})
        assert response.status_code == 206
        assert response.headers["Content-Length"] == str(len(response.content))
        kind = f"Content-Type: {response.headers['Content-Type']}\r\n\r\n"
        parsed = BytesParser(policy=HTTP).parsebytes(kind.encode() + response.content)
        assert parsed.get_content_type() == "multipart/byteranges"
        for part, (first, stop) in zip(parsed.iter_parts(), ranges, strict=True):
            assert part["Content-Range"] == f"bytes {first}-{stop - 1}/{SIZE}"
            assert part["Content-Type"] == "application/octet-stream"
        boundary = f"--{parsed.get_boundary()}".encode()
        bodies = [part.partition(b"\r\n\r\n")[2][:-2] for part in response.content.split(boundary)]
        assert bodies[1:-1] == [BYTES[first:stop] for first, stop in ranges]

    @pytest.mark.parametrize("field", ["bytes=0-", "bytes=0-0", "bytes=-5", "bytes=5-9"])
    def test_of_an_empty_file(self, client: httpx.Client, field: str) -> None:
        response = client.get(upload(client, b"")["url"], headers={"Range": field})
        assert (response.status_code, response.content) == (200, b"")
        assert "Content-Range" not in response.headers

    def test_head_has_none(self, client: httpx.Client, url: str) -> None:
        response = client.head(url, headers={"Range": "bytes=0-1"})
        assert (response.status_code, response.headers["Content-Length"]) == (200, str(SIZE))


def moved(date: str, seconds: int) -> str:
    return format_datetime(parsedate_to_datetime(date) + timedelta(seconds=seconds), usegmt=True)


class TestConditions:
    """In the order of RFC 9110, 13.2.2."""

    @pytest.mark.parametrize(
        ("fields", "status"),
        [
            ({"If-Match": "{etag}"}, 200),
            ({"If-Match": "*"}, 200),
            ({"If-Match": '"other"'}, 412),
            ({"If-Match": "W/{etag}"}, 412),
            ({"If-Match": '"other", {etag}'}, 200),
            ({"If-Unmodified-Since": "{date}"}, 200),
            ({"If-Unmodified-Since": "{earlier}"}, 412),
            ({"If-Match": "{etag}", "If-Unmodified-Since": "{earlier}"}, 200),
            ({"If-None-Match": "{etag}"}, 304),
            ({"If-None-Match": "W/{etag}"}, 304),
            ({"If-None-Match": "*"}, 304),
            ({"If-None-Match": '"other"'}, 200),
            ({"If-Modified-Since": "{date}"}, 304),
            ({"If-Modified-Since": "{later}"}, 304),
            ({"If-Modified-Since": "{earlier}"}, 200),
            ({"If-Modified-Since": "nonsense"}, 200),
            ({"If-None-Match": '"other"', "If-Modified-Since": "{date}"}, 200),
            ({"If-Match": '"other"', "If-None-Match": "{etag}"}, 412),
            ({"If-None-Match": "{etag}", "Range": "bytes=0-0"}, 304),
            ({"If-Range": "{etag}", "Range": "bytes=0-0"}, 206),
            ({"If-Range": "{date}", "Range": "bytes=0-0"}, 206),
            ({"If-Range": '"other"', "Range": "bytes=0-0"}, 200),
            ({"If-Range": "W/{etag}", "Range": "bytes=0-0"}, 200),
            ({"If-Range": "{earlier}", "Range": "bytes=0-0"}, 200),
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_status(
        self, client: httpx.Client, url: str, method: str, fields: dict[str, str], status: int
    ) -> None:
        told = client.head(url).headers
        date = told["Last-Modified"]
        values = {
            "etag": told["ETag"],
            "date": date,
            "earlier": moved(date, -60),
            "later": moved(date, 60),
        }
        headers = {name: value.format(**values) for name, value in fields.items()}
        response = client.request(method, url, headers=headers)
        expected = 200 if method == "HEAD" and status == 206 else status
        assert response.status_code == expected
        if expected == 304:
            assert response.content == b""
            assert response.headers["ETag"] == told["ETag"]
        if expected == 412 and method == "GET":
            assert response.json()["code"] == "precondition_failed"


class TestMissing:
    @pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
    @pytest.mark.parametrize("path", ["/files/nothing", "/files/..%2f..%2fetc", "/nowhere"])
    def test_not_found(self, client: httpx.Client, method: str, path: str) -> None:
        response = client.request(method, path)
        assert response.status_code == 404
        if method != "HEAD":
            assert response.headers["Content-Type"] == "application/problem+json"
            assert response.json().keys() == {"type", "title", "status", "detail", "code"}
            assert response.json()["code"] == "not_found"

    def test_method(self, client: httpx.Client) -> None:
        response = client.delete("/upload")
        assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
        assert {"POST", "PUT"} <= set(response.headers["Allow"].split(", "))


class TestDelete:
    def test_is_the_end(self, client: httpx.Client) -> None:
        file = upload(client, b"x")
        path = f"/files/{file['id']}"
        assert client.get(f"{path}/info").json() == file
        response = client.delete(path)
        assert (response.status_code, response.content) == (204, b"")
        for method, gone in [
            ("GET", file["url"]),
            ("HEAD", path),
            ("GET", f"{path}/info"),
            ("DELETE", path),
        ]:
            assert client.request(method, gone).status_code == 404
        listed = client.get("/files", params={"limit": 1000}).json()["files"]
        assert file["id"] not in {each["id"] for each in listed}

    def test_conditional(self, client: httpx.Client) -> None:
        path = upload(client, b"x")["url"].rpartition("/")[0]
        assert client.delete(path, headers={"If-Match": '"other"'}).status_code == 412
        etag = client.head(path).headers["ETag"]
        assert client.delete(path, headers={"If-Match": etag}).status_code == 204

    def test_a_running_download_ends_undisturbed(self, client: httpx.Client) -> None:
        file = upload(client, BYTES)
        with client.stream("GET", file["url"]) as response:
            pieces = response.iter_raw(MIB)
            received = next(pieces)
            assert client.delete(f"/files/{file['id']}").status_code == 204
            assert received + b"".join(pieces) == BYTES


def test_a_file_called_info(client: httpx.Client) -> None:
    file = upload(client, b"bytes", "info")
    assert client.get(file["url"]).content == b"bytes"
    assert client.get(f"/files/{file['id']}/info").json()["name"] == "info"
