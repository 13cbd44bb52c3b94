"""Every test here runs against both servers, over HTTP alone."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.contract.api.differences import DIFFERENCES
from tests.contract.api.origins import Origin, origin
from tests.contract.api.servers import SERVERS, session, start

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.server_process import ServerProcess


#: Paths of the remote server that bodies may be sent to.
TARGETS = ("echo", "refuse", "hang", "garbage", "keep")


@pytest.fixture(scope="session")
def remote() -> Iterator[Origin]:
    """A server that may be relayed from and to."""
    with origin() as server:
        yield server


@pytest.fixture(scope="session")
def blocked() -> Iterator[Origin]:
    """A server that must not be reached."""
    with origin() as server:
        yield server


@pytest.fixture(scope="session", params=SERVERS)
def server(
    request: pytest.FixtureRequest, remote: Origin, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """One process of each kind for all tests; it must stop when asked, with nothing odd logged."""
    with closing(socket.socket()) as nobody:
        nobody.bind(("127.0.0.1", 0))  # without listening: a port that refuses
        down = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
        targets = {name: f"{remote.url}/{name}" for name in TARGETS}
        variables = {
            "QUART_APP_ALLOW_FETCH": json.dumps([remote.authority, down.split("/")[2]]),
            "QUART_APP_PROXY_TARGETS": json.dumps(
                targets | {"default": f"{remote.url}/echo", "down": down}
            ),
        }
        directory = tmp_path_factory.mktemp(request.param)
        with start(request.param, directory, variables) as server:
            yield server


@pytest.fixture
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    with session(server) as client:
        yield client


@pytest.fixture
def patience(request: pytest.FixtureRequest) -> float:
    """Seconds to wait for what is due, and less where the table says that it never comes."""
    return 1 if request.node.get_closest_marker("xfail") else 20


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Expects of Flask the failures that the table tells, and no other."""
    for item in items:
        if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
            continue
        name = item.nodeid.rpartition("/")[2].partition("[")[0]
        if item.callspec.params.get("server") == "flask" and name in DIFFERENCES:
            item.add_marker(
                pytest.mark.xfail(
                    strict=True, raises=(AssertionError, OSError), reason=DIFFERENCES[name]
                )
            )
