"""Real servers for tests: shared where settings are the same, looked into after every test."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.e2e.clients import session
from tests.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import httpx


class Servers(Protocol):
    """Gives a server that has the settings and is ready."""

    def __call__(self, **settings: object) -> ServerProcess: ...


@pytest.fixture(scope="session")
def shared_servers(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, ServerProcess]]:
    """Servers by their settings, stopped at the end of all tests."""
    running: dict[str, ServerProcess] = {}
    with ExitStack() as stack:
        yield running
        for server in running.values():
            stack.push(server)


@pytest.fixture
def shared_server(
    shared_servers: dict[str, ServerProcess], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    """Servers for tests that do not mind each other's files; each must be settled afterwards."""
    used: list[ServerProcess] = []

    def give(**settings: object) -> ServerProcess:
        key = repr(sorted(settings.items()))
        if key not in shared_servers:
            shared_servers[key] = ServerProcess(
                tmp_path_factory.mktemp("server"), settings
            ).__enter__()
        used.append(shared_servers[key])
        return shared_servers[key]

    yield give
    for server in used:
        try:
            server.assert_settled()
        except BaseException:  # which is no other test's fault
            shared_servers.pop(next(k for k, v in shared_servers.items() if v is server)).kill()
            raise


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers of a test's own; those still up must be settled, and stop when asked."""
    started: list[ServerProcess] = []

    def start_one(**options: Any) -> ServerProcess:
        directory = tmp_path / f"server-{len(started)}"
        directory.mkdir()
        started.append(ServerProcess(directory, **options))
        return started[-1].ready()

    with ExitStack() as stack:
        yield start_one
        for server in started:
            stack.callback(server.kill)
        for server in started:
            if server.running:
                server.assert_settled()
                server.stop()


@pytest.fixture
def server(shared_server: Servers) -> ServerProcess:
    """A server as it comes."""
    return shared_server()


@pytest.fixture
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    """A client of the server as it comes, without a connection left open at the end."""
    with session(server) as client:
        yield client
