"""The list of files in its three forms."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.clients import form, form_type, session, upload

if TYPE_CHECKING:
    import httpx

    from tests.conftest import Servers
    from tests.server_process import ServerProcess

COUNT = 1205

AWKWARD = 'a "quoted", name;\nwith = all — of 🦆.txt'


@pytest.fixture(scope="module")
def names() -> list[str]:
    """Names of the listed files, oldest first."""
    return [f"{number:04}" for number in range(COUNT - 1)] + [AWKWARD.replace("\n", "")]


@pytest.fixture
def full(shared_server: Servers, names: list[str]) -> ServerProcess:
    """A server of this module's own, with more files than any page or batch of rows has."""
    server = shared_server(max_form_parts=1001)
    if not server.rows():
        with session(server) as client:
            for start in range(0, COUNT, 1000):
                parts = [
                    (f'name="f"; filename="{name.replace(chr(34), "%22")}"', b"x")
                    for name in names[start : start + 1000]
                ]
                headers = {"Content-Type": form_type}
                answer = client.post("/upload", content=form(*parts), headers=headers)
                assert answer.status_code == 201
    return server


def walked(client: httpx.Client, limit: int) -> list[list[dict[str, Any]]]:
    pages: list[list[dict[str, Any]]] = []
    query = {"limit": str(limit)}
    while True:
        answer = client.get("/files", params=query).json()
        assert list(answer) == ["files", "next"]
        pages.append(answer["files"])
        if answer["next"] is None:
            return pages
        query["cursor"] = answer["next"]


def test_pages(full: ServerProcess) -> None:
    with session(full) as client:
        for limit in (1000, 301):
            pages = walked(client, limit)
            assert [len(page) for page in pages[:-1]] == [limit] * (COUNT // limit)
            files = [file for page in pages for file in page]
            assert len({file["id"] for file in files}) == len(files) == COUNT
            moments = [file["created_at"] for file in files]
            assert moments == sorted(moments, reverse=True)


def test_three_forms_say_the_same(full: ServerProcess) -> None:
    with session(full) as client:
        files = [file for page in walked(client, 1000) for file in page]
        lines = client.get("/files", headers={"Accept": "application/x-ndjson"})
        assert lines.headers["Content-Type"].startswith("application/x-ndjson")
        assert [json.loads(line) for line in lines.text.splitlines()] == files
        table = client.get("/files", headers={"Accept": "text/csv"})
        assert table.headers["Content-Type"] == "text/csv; charset=utf-8"
        rows = list(csv.DictReader(io.StringIO(table.text, newline="")))
        assert rows == [{k: "" if v is None else str(v) for k, v in f.items()} for f in files]


def test_default_page_has_100(full: ServerProcess) -> None:
    with session(full) as client:
        assert len(client.get("/files").json()["files"]) == 100
        assert len(client.get("/files?limit=999999999").json()["files"]) == 1000


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/json", "application/json"),
        ("*/*", "application/json"),
        ("text/html", "application/json"),
        ("text/csv;q=0.1, application/json;q=0.9", "application/json"),
        ("text/csv, application/json;q=0.9", "text/csv"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("nonsense", "application/json"),
    ],
)
def test_negotiation(client: httpx.Client, accept: str, kind: str) -> None:
    response = client.get("/files", headers={"Accept": accept})
    assert response.status_code == 200
    assert response.headers["Content-Type"].partition(";")[0] == kind


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "bad_request"),
        ("limit=-1", "bad_request"),
        ("limit=ten", "bad_request"),
        ("limit=1e3", "bad_request"),
        ("limit=%D9%A1", "bad_request"),
        ("limit=" + "9" * 5000, "bad_request"),
        ("limit=", "bad_request"),
        ("cursor=nonsense", "bad_cursor"),
        ("cursor=!!!!", "bad_cursor"),
        ("cursor=" + "A" * 5000, "bad_cursor"),
        ("cursor=OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk6YQ", "bad_cursor"),
        ("cursor=%F0%9F%A6%86", "bad_cursor"),
        # `5:a`, NUL, `b`, which PostgreSQL takes for no text; a key of 65 characters; `-5:a`.
        ("cursor=NTphAGI", "bad_cursor"),
        ("cursor=NTph" + "YWFh" * 21 + "YQ", "bad_cursor"),
        ("cursor=LTU6YQ", "bad_cursor"),
    ],
)
def test_bad_pages(client: httpx.Client, query: str, code: str) -> None:
    response = client.get(f"/files?{query}")
    assert (response.status_code, response.json()["code"]) == (400, code)


def test_cursor_of_a_deleted_file_goes_on(client: httpx.Client) -> None:
    first, second, third = (upload(client, b"x", name) for name in "123")
    page = client.get("/files?limit=1").json()
    assert page["files"] == [third]
    client.delete(f"/files/{third['id']}")
    client.delete(f"/files/{second['id']}")
    following = client.get("/files", params={"limit": 1, "cursor": page["next"]}).json()
    assert following["files"] == [first]


def test_info(client: httpx.Client) -> None:
    file = upload(client, b"hello", "info")
    assert file["url"] == f"/files/{file['id']}"
    assert client.get(f"/files/{file['id']}/info").json() == file
    assert client.get(file["url"]).content == b"hello"
