"""The service behind a real nginx."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import pytest

from tests.deploy.nginx import Nginx
from tests.deploy.programs import debian

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.conftest import Servers
    from tests.server_process import ServerProcess

MOST = "80MiB"


class Front(NamedTuple):
    """A service, and the nginx in front of it."""

    server: ServerProcess
    nginx: Nginx


class Behind(Protocol):
    """Puts an nginx in front of a service."""

    def __call__(
        self, upstream: str, data: Path, changes: Mapping[str, str] | None = None
    ) -> Nginx: ...


@pytest.fixture(scope="session")
def nginx_program() -> Path:
    return debian("nginx", "nginx-light")


@pytest.fixture
def behind(nginx_program: Path, tmp_path: Path) -> Iterator[Behind]:
    """Starts an nginx of a test's own; it must have complained of nothing unexpected."""
    started: list[Nginx] = []

    def start(upstream: str, data: Path, changes: Mapping[str, str] | None = None) -> Nginx:
        place = tmp_path / f"nginx-{len(started)}"
        started.append(Nginx(nginx_program, place, upstream, data / "files", changes))
        return started[-1].ready()

    yield start
    for nginx in started:
        nginx.stop()
    for nginx in started:
        nginx.assert_quiet()


@pytest.fixture(scope="session")
def fronts() -> Iterator[dict[str, Nginx]]:
    """Those that tests share, by the address of the service behind them."""
    running: dict[str, Nginx] = {}
    yield running
    for nginx in running.values():
        nginx.stop()


@pytest.fixture
def front(
    shared_server: Servers,
    fronts: dict[str, Nginx],
    nginx_program: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Front]:
    """The service with `accel_redirect`, and nginx in front of it."""
    server = shared_server(accel_redirect="/protected/", max_upload_size=MOST)
    if server.base_url not in fronts:
        place = tmp_path_factory.mktemp("nginx")
        upstream = f"{server.host}:{server.port}"
        fronts[server.base_url] = Nginx(nginx_program, place, upstream, server.data / "files")
    nginx = fronts[server.base_url].ready()
    yield Front(server, nginx)
    assert nginx.buffered() == []
    nginx.assert_quiet()
