"""The copied example runs, and has the faults that it is kept for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract.api.servers import Gunicorn, session
from tests.e2e.clients import content, form, form_type

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.contract.api.origins import Origin

BYTES = content(1_000_000)


@pytest.fixture(scope="module")
def example(remote: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    directory = tmp_path_factory.mktemp("literal")
    variables = {
        "BENCHMARK_DATA": str(directory),
        "LITERAL_DESTINATION": f"{remote.url}/keep",
    }
    application = "benchmarks.servers.flask_literal:app"
    with (
        Gunicorn(directory, variables, application) as server,
        session(server) as client,
    ):
        yield client


def test_upload(example: httpx.Client) -> None:
    [file] = example.post("/upload", content=BYTES).json()["files"]
    assert example.get(file["url"]).content == BYTES


def test_upload_stores_a_form_with_its_boundaries(example: httpx.Client) -> None:
    body = form(('name="file"; filename="a"', BYTES))
    response = example.post("/upload", content=body, headers={"Content-Type": form_type})
    assert example.get(response.json()["files"][0]["url"]).content == body


def test_second_file_of_a_name_overwrites_the_first(example: httpx.Client) -> None:
    urls = []
    for data in (b"first", b"second"):
        response = example.post("/form", files={"file": ("../same.txt", data)})
        urls.append(response.json()["files"][0]["url"])
    assert urls[0] == urls[1]
    assert example.get(urls[0]).content == b"second"


def test_fetch_loses_status(example: httpx.Client, remote: Origin) -> None:
    response = example.get(f"{example.base_url}/{remote.url}/missing")
    assert (response.status_code, response.content) == (200, b"not here")


def test_fetch_needs_a_type(example: httpx.Client, remote: Origin) -> None:
    assert example.get(f"{example.base_url}/{remote.url}/untyped").status_code == 500


def test_fetch_asks_whomever(example: httpx.Client, blocked: Origin) -> None:
    before = blocked.requests
    assert example.get(f"{example.base_url}/{blocked.url}/hops").content == b"hops"
    assert blocked.requests == before + 1
    blocked.requests = before


def test_proxy_wraps_a_form_into_a_form(example: httpx.Client, remote: Origin) -> None:
    body = form(('name="file"; filename="a"', BYTES))
    response = example.post("/proxy", content=body, headers={"Content-Type": form_type})
    assert response.text == "done"
    assert body in remote.kept
    assert remote.kept != body


@pytest.mark.parametrize("via", ["bytesio", "stringio", "tempfile", "mmap"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_read_data(example: httpx.Client, via: str, method: str) -> None:
    text = "für\n".encode() * 1000
    response = example.request(method, "/read_data", params={"via": via}, content=text)
    assert response.content == text
