"""Health, and Quart's own test client, for which a stream is not needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from quart_app.app import create_app, start_draining
from quart_app.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from quart import Quart

pytestmark = pytest.mark.asyncio(loop_scope="function")


@pytest_asyncio.fixture
async def app(tmp_path: Path) -> AsyncIterator[Quart]:
    app = create_app(load_settings({"data": tmp_path}).settings)
    async with app.test_app():
        yield app


async def test_stopping_service_wants_no_work(app: Quart) -> None:
    client = app.test_client()
    assert (await client.get("/readyz")).status_code == 200
    start_draining(app)
    response = await client.get("/readyz")
    problem = await response.get_json(force=True)
    assert (response.status_code, problem["code"]) == (503, "draining")
    assert (await client.get("/healthz")).status_code == 200


async def test_quarts_test_client_works(app: Quart) -> None:
    client = app.test_client()
    answer = await (await client.post("/upload?name=a.txt", data=b"hello")).get_json()
    response = await client.get(answer["files"][0]["url"], headers={"Range": "bytes=1-3"})
    assert (response.status_code, await response.get_data()) == (206, b"ell")
    assert (await client.delete(f"/files/{answer['files'][0]['id']}")).status_code == 204


async def test_server_without_lifespan(tmp_path: Path) -> None:
    """Nothing is started, which is no fault of the application's."""
    client = create_app(load_settings({"data": tmp_path}).settings).test_client()
    for path in ("/readyz", "/files"):
        response = await client.get(path)
        problem = await response.get_json(force=True)
        assert (response.status_code, problem["code"]) == (503, "not_started")
    assert (await client.get("/healthz")).status_code == 200
