"""Which downloads are handed over to an nginx in front, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from quart import Quart

from quart_app.catalog import MemoryCatalog
from quart_app.models import MIB
from quart_app.protocol.addresses import AddressPolicy
from quart_app.protocol.multipart import FormLimits
from quart_app.services import Converting, Files, Reading, Relaying, Upload
from quart_app.settings import BadSettings, load_settings
from quart_app.storage import LocalDriver, MemoryDriver, PathReporting, Store
from quart_app.streaming import stream_bodies
from quart_app.upstream import Client, Connector, tls_context
from quart_app.web import Services, downloads, set_services
from tests.deploy.conftest import MOST
from tests.e2e.clients import content, session, upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    import httpx

    from tests.conftest import Servers
    from tests.server_process import ServerProcess

BYTES = content(10_000)

LONG_AGO = "Sat, 29 Oct 1994 19:43:31 GMT"
FAR_AHEAD = "Sat, 29 Oct 2094 19:43:31 GMT"


@pytest.fixture
def handing(shared_server: Servers) -> ServerProcess:
    return shared_server(accel_redirect="/protected/", max_upload_size=MOST)


@pytest.fixture
def direct(handing: ServerProcess) -> Iterator[httpx.Client]:
    """A client that talks past nginx."""
    with session(handing) as client:
        yield client


@pytest.fixture
def file(direct: httpx.Client) -> dict[str, Any]:
    return upload(direct, BYTES)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Range": "bytes=0-4"},
        {"Range": "bytes=5-"},
        {"Range": "bytes=-5"},
        {"Range": "bytes=5-999999999999999999"},
        {"Range": "bytes=0-4", "If-Range": '"{sha256}"'},
    ],
)
def test_handed_over(
    handing: ServerProcess, direct: httpx.Client, file: dict[str, Any], headers: dict[str, str]
) -> None:
    headers = {name: value.format(**file) for name, value in headers.items()}
    response = direct.get(file["url"], headers=headers)
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-length"] == "0"
    location, path = response.headers["x-accel-redirect"].split("/protected/")
    assert location == ""
    assert (handing.data / "files" / path).read_bytes() == BYTES


@pytest.mark.parametrize(
    "headers",
    [
        {"If-Match": '"{sha256}"'},
        {"If-None-Match": '"other"'},
        {"If-Modified-Since": LONG_AGO},
        {"If-Unmodified-Since": FAR_AHEAD},
        {"Range": "bytes=0-4,6-9"},
        {"Range": "bytes= 0-4"},
        {"Range": "BYTES=0-4"},
        {"Range": "bytes=0-4,"},
        {"Range": f"bytes=0-{10**18}"},
        {"Range": "bytes=5-3"},
        {"Range": "lines=0-4"},
        {"Range": "bytes=0-4", "If-Range": '"other"'},
        {"Range": "bytes=0-4", "If-Range": LONG_AGO},
        {"Range": "bytes=0-4", "If-Match": "*"},
    ],
)
def test_answered_by_the_service(
    direct: httpx.Client, file: dict[str, Any], headers: dict[str, str]
) -> None:
    headers = {name: value.format(**file) for name, value in headers.items()}
    response = direct.get(file["url"], headers=headers)
    assert response.status_code in {200, 206}
    assert int(response.headers["content-length"]) == len(response.content) > 0
    assert "x-accel-redirect" not in response.headers
    assert response.headers["accept-ranges"] == "bytes"


def test_head_is_answered_by_the_service(direct: httpx.Client, file: dict[str, Any]) -> None:
    response = direct.head(file["url"])
    assert response.headers["content-length"] == str(len(BYTES))
    assert "x-accel-redirect" not in response.headers


@pytest.mark.parametrize("given", ["/protected/", "/a/b-c_d/"])
def test_setting(given: str) -> None:
    assert load_settings({"accel_redirect": given}).settings.accel_redirect == given
    assert load_settings().settings.accel_redirect is None


@pytest.mark.parametrize(
    "given", ["", "/", "//", "a", "/a", "a/", "/a b/", "/../", "/a/../", "/a?/", "/%2e/"]
)
def test_setting_that_cannot_be(given: str) -> None:
    with pytest.raises(BadSettings, match="accel_redirect"):
        load_settings({"accel_redirect": given})


async def body() -> AsyncIterator[bytes]:
    yield BYTES


def files_of(driver: LocalDriver | MemoryDriver) -> Files:
    return Files(Store(driver, max_size=MIB), MemoryCatalog())


def relaying_of(files: Files) -> Relaying:
    client = Client(Connector(AddressPolicy(), tls_context(), stall_timeout=1))
    return Relaying(client, client, {}, files, pseudonym="test")


@pytest.mark.asyncio(loop_scope="function")
async def test_path_leads_to_the_bytes(tmp_path: Path) -> None:
    files = files_of(LocalDriver(tmp_path))
    file = await files.add_one(Upload(body(), "a.bin", "application/x-a"))
    path = files.relative_path(file)
    assert path is not None
    assert (tmp_path / path).read_bytes() == BYTES
    await files.delete(file.id)
    assert not (tmp_path / path).exists()


@pytest.mark.asyncio(loop_scope="function")
async def test_without_files_the_service_sends_the_bytes(tmp_path: Path) -> None:
    assert not isinstance(MemoryDriver(), PathReporting)
    files = files_of(MemoryDriver())
    file = await files.add_one(Upload(body(), "a.bin", "application/x-a"))
    app = Quart(__name__)
    stream_bodies(app)
    app.register_blueprint(downloads)
    given = Services(
        files=files,
        relaying=relaying_of(files),
        reading=Reading(tmp_path, spill_size=0),
        converting=Converting(max_ratio=1, max_size=1),
        form_limits=FormLimits(),
    )
    given.accel_redirect = "/protected/"
    set_services(app, given)
    response = await app.test_client().get(f"/files/{file.id}")
    assert await response.get_data(as_text=False) == BYTES
    assert "x-accel-redirect" not in response.headers
