"""The two servers that have the API: the service, and Flask under gunicorn."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

import httpx

from tests.server_process import SERVE, START_SECONDS, ServerProcess
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = [
    "LIMIT",
    "SERVERS",
    "STALL_SECONDS",
    "Gunicorn",
    "newest",
    "session",
    "start",
]

#: Bytes that a file may have.
LIMIT = 8 * 1024 * 1024
#: Seconds that a silent peer is given.
STALL_SECONDS = 2

SERVERS = ("quart-app", "flask")

#: Longest wait of a client for a server that should answer.
CLIENT_SECONDS = 60

FLASK = "benchmarks.servers.flask_app:app"


class Gunicorn(ServerProcess):
    """A WSGI application under gunicorn, with threads, as they serve the most clients at once."""

    ADDRESS = re.compile(r"Listening at: (http://(127\.0\.0\.1):([1-9]\d*)) ")

    def __init__(
        self, directory: Path, variables: Mapping[str, str], application: str = FLASK
    ) -> None:
        workers = ("--worker-class", "gthread", "--threads", "8", "--bind", "127.0.0.1:0")
        command = (sys.executable, "-m", "gunicorn", *workers, application)
        super().__init__(directory, command=command, variables=variables)

    def ready(self) -> Self:
        said = eventually(self._announcement, seconds=START_SECONDS, what="gunicorn starts")
        self.base_url, self.host, self.port = said[1], said[2], int(said[3])
        return self

    def _announcement(self) -> re.Match[str] | None:
        assert self.process.poll() is None, f"it ended: {self.err.read_text()[-4000:]}"
        return self.ADDRESS.search(self.err.read_text())

    def assert_quiet_logs(self) -> None:
        """Nothing surprised the application; gunicorn logs answers that it had to cut, too."""
        log = self.err.read_text()
        assert "unexpected error" not in log, log[-4000:]


def start(name: str, directory: Path, variables: Mapping[str, str]) -> ServerProcess:
    """Starts a server with the settings of this suite, which both read from their environment."""
    own = {
        "QUART_APP_MAX_UPLOAD_SIZE": str(LIMIT),
        "QUART_APP_STALL_TIMEOUT": str(STALL_SECONDS),
    }
    if name == "flask":
        return Gunicorn(directory, own | dict(variables))
    return ServerProcess(directory, command=SERVE, variables=own | dict(variables))


@contextmanager
def session(server: ServerProcess) -> Iterator[httpx.Client]:
    """Opens a client, without the certificates whose loading would cost more than most tests."""
    with httpx.Client(base_url=server.base_url, timeout=CLIENT_SECONDS, verify=False) as client:
        yield client


def newest(server: ServerProcess) -> list[str]:
    """Asks for the last files that were stored, over a connection that no test has used."""
    with session(server) as client:
        page = client.get("/files", params={"limit": 3}).json()
    return [file["id"] for file in page["files"]]
