"""The list of files: pages of JSON, or all of it as CSV or lines."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.contract.api.servers import session
from tests.e2e.clients import upload

if TYPE_CHECKING:
    import httpx

    from tests.server_process import ServerProcess


@pytest.fixture(scope="module")
def stored(server: ServerProcess) -> list[dict[str, Any]]:
    """Files that the tests of this module find, newest first."""
    with session(server) as client:
        files = [upload(client, b"x" * n, f"file, {n}.txt") for n in range(12)]
    return files[::-1]


def test_pages(client: httpx.Client, stored: list[dict[str, Any]]) -> None:
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while len(found) < len(stored):
        params: dict[str, Any] = {"limit": 5} | ({"cursor": cursor} if cursor else {})
        page = client.get("/files", params=params).json()
        assert len(page["files"]) == 5 or page["next"] is None
        found += page["files"]
        cursor = page["next"]
    assert found[: len(stored)] == stored


def test_last_page(client: httpx.Client, stored: list[dict[str, Any]]) -> None:
    seen: set[str] = set()
    params: dict[str, Any] = {"limit": 1000}
    while True:
        page = client.get("/files", params=params).json()
        ids = {file["id"] for file in page["files"]}
        assert not ids & seen
        seen |= ids
        if page["next"] is None:
            break
        params["cursor"] = page["next"]
    assert seen >= {file["id"] for file in stored}


def test_csv(client: httpx.Client, stored: list[dict[str, Any]]) -> None:
    response = client.get("/files", headers={"Accept": "text/csv"})
    assert response.headers["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(response.text)))[: len(stored)]
    assert [row["name"] for row in rows] == [file["name"] for file in stored]
    assert [row["sha256"] for row in rows] == [file["sha256"] for file in stored]
    assert set(rows[0]) == set(stored[0])


HARMFUL = {
    "=1+1": "'=1+1",
    "+1": "'+1",
    "-1": "'-1",
    "@a": "'@a",
    "'=1": "''=1",
    "＝1": "'＝1",
    "a;=1": "a;'=1",
}


@pytest.mark.parametrize(("name", "cell"), HARMFUL.items())
def test_no_spreadsheet_runs_a_name(client: httpx.Client, name: str, cell: str) -> None:
    file = upload(client, b"x", name, Content_Type="+1/x")
    table = client.get("/files", headers={"Accept": "text/csv"}).text
    [row] = [each for each in csv.DictReader(io.StringIO(table)) if each["id"] == file["id"]]
    assert (row["name"], row["media_type"]) == (cell, "'+1/x")
    lines = client.get("/files", headers={"Accept": "application/x-ndjson"}).text.splitlines()
    assert file in [json.loads(line) for line in lines]
    assert client.get(f"/files/{file['id']}/info").json()["name"] == name
    client.delete(f"/files/{file['id']}")


def test_ndjson(client: httpx.Client, stored: list[dict[str, Any]]) -> None:
    response = client.get("/files", headers={"Accept": "application/x-ndjson"})
    assert response.headers["Content-Type"].startswith("application/x-ndjson")
    found = [json.loads(line) for line in response.text.splitlines()]
    assert found[: len(stored)] == stored


@pytest.mark.parametrize("accept", ["application/json", "*/*", "text/html, */*;q=0.5", ""])
def test_json_is_the_default(client: httpx.Client, accept: str) -> None:
    response = client.get("/files", headers={"Accept": accept})
    assert response.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/csv; charset=utf-8", "text/csv"),
        ("text/csv;header=present", "text/csv"),
        ("text/html, application/x-ndjson;charset=utf-8;q=0.9", "application/x-ndjson"),
        ("text/csv;q=0.5, application/json; charset=utf-8", "application/json"),
    ],
)
def test_parameters_of_a_type(client: httpx.Client, accept: str, kind: str) -> None:
    response = client.get("/files", headers={"Accept": accept})
    assert response.headers["Content-Type"].partition(";")[0] == kind


@pytest.mark.parametrize("accept", ["application/json", "text/csv"])
def test_caches_keep_forms_apart(client: httpx.Client, accept: str) -> None:
    assert client.get("/files", headers={"Accept": accept}).headers["Vary"] == "Accept"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"limit": "0"}, "bad_request"),
        ({"limit": "-1"}, "bad_request"),
        ({"limit": "x"}, "bad_request"),
        ({"cursor": "nonsense"}, "bad_cursor"),
    ],
)
def test_refused(client: httpx.Client, query: dict[str, str], code: str) -> None:
    response = client.get("/files", params=query)
    assert (response.status_code, response.json()["code"]) == (400, code)


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 200
