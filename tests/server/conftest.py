"""The bare application on both servers: stock Hypercorn, and this project's layer."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.clients import session
from tests.server.raw_app import ASKED_FOR
from tests.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
__all__ = ["LOOPS", "RAW", "RawServer"]

LOOPS = ("uvloop", "asyncio")

RAW = (sys.executable, "-m", "tests.server.raw_server")


class RawServer(ServerProcess):
    """A server of the bare application, which fails when asked to."""

    def logs(self) -> list[dict[str, Any]]:
        return [line for line in super().logs() if ASKED_FOR not in line.get("exception", "")]


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RawServer]:
    """Stock Hypercorn, which may be left with leaks and hanging connections."""
    server = RawServer(tmp_path_factory.mktemp("stock"), command=(*RAW, "stock", "uvloop"))
    try:
        server.ready()
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module", params=LOOPS)
def running_layer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RawServer]:
    server = RawServer(tmp_path_factory.mktemp("ours"), command=(*RAW, "ours", request.param))
    try:
        server.ready()
        yield server
        server.stop()
    finally:
        server.kill()


@pytest.fixture
def ours(running_layer: RawServer) -> Iterator[RawServer]:
    """Hypercorn with this project's layer, on both loops; settled after every test."""
    yield running_layer
    with session(running_layer) as client:
        assert client.get("/release").status_code == 200
    running_layer.assert_settled()
