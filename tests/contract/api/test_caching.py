"""Caches: files are asked for before each use, all other answers are kept by nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.contract.api.servers import session
from tests.e2e.clients import form, form_type, upload

if TYPE_CHECKING:
    import httpx

    from tests.contract.api.origins import Origin
    from tests.server_process import ServerProcess


@pytest.fixture(scope="module")
def file(server: ServerProcess) -> dict[str, Any]:
    """A file that the tests of this module only read."""
    with session(server) as client:
        return upload(client, b"0123456789", "a.txt")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 200),
        ({"Range": "bytes=0-1"}, 206),
        ({"Range": "bytes=0-1,5-6"}, 206),
        ({"If-None-Match": "*"}, 304),
    ],
)
def test_file(
    client: httpx.Client, file: dict[str, Any], method: str, fields: dict[str, str], status: int
) -> None:
    response = client.request(method, file["url"], headers=fields)
    assert response.status_code == (200 if method == "HEAD" and status == 206 else status)
    assert response.headers.get_list("Cache-Control") == ["no-cache"]


FORM = form(('name="a"; filename="a"', b"x"))

NOT_KEPT = [
    ("GET", "/files", {}, b"", 200),
    ("HEAD", "/files", {}, b"", 200),
    ("GET", "/files", {"Accept": "text/csv"}, b"", 200),
    ("GET", "/files", {"Accept": "application/x-ndjson"}, b"", 200),
    ("GET", "/files/{id}/info", {}, b"", 200),
    ("GET", "/healthz", {}, b"", 200),
    ("GET", "/readyz", {}, b"", 200),
    ("POST", "/upload", {}, b"x", 201),
    ("PUT", "/upload/a", {}, b"x", 201),
    ("POST", "/upload", {"Content-Type": form_type}, FORM, 201),
    ("POST", "/read_data", {}, b"x", 200),
    ("POST", "/read_data", {"Accept": "application/json"}, b"x", 200),
    ("POST", "/convert", {"Content-Type": form_type}, FORM, 200),
    ("POST", "/convert/gzip", {}, b"x", 200),
    ("OPTIONS", "/files", {}, b"", 200),
    # Errors, of which caches keep some unasked (RFC 9110, 15.1).
    ("GET", "/files/nothing", {}, b"", 404),
    ("HEAD", "/files/nothing", {}, b"", 404),
    ("GET", "/files/nothing/info", {}, b"", 404),
    ("GET", "/nowhere", {}, b"", 404),
    ("DELETE", "/upload", {}, b"", 405),
    ("GET", "/files?limit=x", {}, b"", 400),
    ("GET", "/files/{id}", {"If-Match": '"x"'}, b"", 412),
    ("GET", "/files/{id}", {"Range": "bytes=99-"}, b"", 416),
    ("POST", "/upload", {"Content-Encoding": "gzip"}, b"x", 415),
]


@pytest.mark.parametrize(("method", "path", "fields", "body", "status"), NOT_KEPT)
def test_no_other_answer_is_kept(
    client: httpx.Client,
    file: dict[str, Any],
    method: str,
    path: str,
    fields: dict[str, str],
    body: bytes,
    status: int,
) -> None:
    response = client.request(method, path.format(**file), headers=fields, content=body)
    assert response.status_code == status
    assert response.headers.get_list("Cache-Control") == ["no-store"]


def test_deletion(client: httpx.Client) -> None:
    response = client.delete(f"/files/{upload(client, b'x')['id']}")
    assert (response.status_code, response.headers["Cache-Control"]) == (204, "no-store")


class TestRelayed:
    """The other server decides; where it leaves the decision open, nothing is kept."""

    def test_its_own_word(self, client: httpx.Client, remote: Origin) -> None:
        response = client.get(f"/{remote.url}/cached")
        assert response.headers.get_list("Cache-Control") == ["public, max-age=60"]

    @pytest.mark.parametrize("path", ["file", "missing"])
    def test_without_one(self, client: httpx.Client, remote: Origin, path: str) -> None:
        response = client.get(f"/{remote.url}/{path}")
        assert response.headers.get_list("Cache-Control") == ["no-store"]

    def test_sent_on(self, client: httpx.Client) -> None:
        response = client.post("/proxy/echo", content=b"x")
        assert response.headers.get_list("Cache-Control") == ["no-store"]
