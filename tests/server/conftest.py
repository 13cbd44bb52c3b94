"""The bare application on both servers: stock Hypercorn, and this project's layer."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.server.raw_app import ASKED_FOR
from tests.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOPS = ("uvloop", "asyncio")

RAW = (sys.executable, "-m", "tests.server.raw_server")


class RawServer(ServerProcess):
    """A server of the bare application, whose failures are asked for."""

    def logs(self) -> list[dict[str, Any]]:
        return [line for line in super().logs() if ASKED_FOR not in line.get("exception", "")]


@pytest.fixture(scope="session")
def raw_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RawServer]]:
    """One server of each kind, started as asked for."""
    running: dict[str, RawServer] = {}
    yield running
    for name, server in running.items():
        server.kill() if name == "stock" else server.stop()


def _give(servers: dict[str, RawServer], factory: pytest.TempPathFactory, *kind: str) -> RawServer:
    if kind[0] not in servers or not servers[kind[0]].running:
        servers[kind[0]] = RawServer(factory.mktemp("raw"), command=(*RAW, *kind))
        servers[kind[0]].ready()
    return servers[kind[0]]
